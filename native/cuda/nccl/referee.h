// The thread of rank 0 that all processes are connected to. It brings groups of them together, compares what each says
// it does with what the others of its group say, and tells all of them when one is gone, stuck or somewhere else.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <set>
#include <thread>

#include "cuda/nccl/frames.h"

namespace te::cuda {

class Referee {
 public:
  // Owns the socket, at which it listens. `seconds`: how long it waits for all `size` processes to come.
  Referee(int listener, int size, double seconds);
  // Returns when all have left, or ends.
  ~Referee();

 private:
  struct Client {
    std::unique_ptr<Connection> connection;
    int rank = -1;  // until it says hello
    bool is_gone = false;
  };
  struct Meeting {
    std::vector<int32_t> ranks;
    std::string what;
    std::set<int> arrived;
    std::string data;
  };
  // What a group did: the collectives that some have come to and others have not.
  struct History {
    struct Entry {
      uint64_t digest;
      int rank;
      std::string what;
    };
    std::vector<int32_t> ranks;
    std::map<uint64_t, Entry> entries;  // by count
    std::map<int, uint64_t> last;       // by rank
  };

  void loop();
  bool is_over() const;
  void take_newcomer();
  void read(Client& client);
  void lose(Client& client);
  void take(Client& client, const Frame& frame);
  void hello(Client& client, const Frame& frame);
  void meet(const Frame& frame);
  void compare(const Frame& frame);
  void explain(const Frame& frame);
  void check_order(const Meeting& meeting);
  void tell(const std::vector<int32_t>& ranks, const Frame& frame);
  void tell_all(const Frame& frame);
  // Tells all why the world ends.
  void end(const std::string& why);
  void end(const Frame& reason);
  std::string missing() const;

  const int listener_, size_;
  const double seconds_;
  const Clock::time_point deadline_;
  std::vector<std::unique_ptr<Client>> clients_;
  std::map<int, Client*> ranks_;
  std::map<int, std::string> where_;  // what each is at
  std::map<uint64_t, Meeting> meetings_;
  std::map<uint64_t, History> histories_;
  bool is_complete_ = false, is_broken_ = false;
  std::set<int> left_;
  std::atomic<bool> stopped_{false};
  std::thread thread_;
};

}  // namespace te::cuda
