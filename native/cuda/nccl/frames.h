// What processes tell each other beside their data: small frames over TCP.
#pragma once
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace te::cuda {

using Clock = std::chrono::steady_clock;

struct Frame {
  // To the referee: hello, meet, at (a collective), stuck (there), bye. From it: welcome, met, lost (a rank), broken
  // (the world, for the reason `what`).
  enum class Kind : uint32_t { hello, welcome, meet, met, at, stuck, lost, broken, bye } kind;
  int32_t rank = -1, size = 0;      // the sender's; lost: who is
  uint64_t key = 0;                 // of a group of ranks and what they do together
  uint64_t count = 0, digest = 0;   // how many collectives the group has begun, and which
  std::vector<int32_t> ranks = {};  // the group, in order
  std::string what = {};            // for people
  std::string data = {};            // meet, met: what goes from the first of the group to the others
};

// A socket. Frames are written whole, by any thread, and read by one.
class Connection {
 public:
  explicit Connection(int socket);
  ~Connection();
  Connection(const Connection&) = delete;
  int socket() const { return socket_; }
  // False: the other side is gone, or takes nothing for `patience`.
  bool send(const Frame& frame);
  // Reads what has come. False: the other side is gone, or is no process of ours.
  bool receive();
  std::optional<Frame> next();  // of what was read
  // Ends it for both sides: a thread that waits for frames goes on.
  void shut();

 private:
  const int socket_;
  std::mutex sending_;
  std::string read_;
  size_t at_ = 0;
};

// "host:port" or "[::1]:port". Throws te::Error "option".
struct Address {
  std::string host, port;
};
Address parse_address(const std::string& text);

// A socket that listens at the port ("0": one that is free) of all addresses of this machine, and its port. Throws
// te::Error "backend" where it is in use.
int listen_at(const std::string& port, std::string* given);

// Connects to the address, trying again until the deadline. Throws te::Error "backend" when nobody answers.
int connect_to(const Address& address, Clock::time_point deadline, double seconds);

}  // namespace te::cuda
