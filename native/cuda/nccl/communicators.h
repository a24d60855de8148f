// Groups of processes that exchange memory of their GPUs on the stream, each through a communicator of NCCL that is
// made when the group first exchanges.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cuda/context.h"
#include "cuda/nccl/world.h"
#include "plan/collective.h"
#include "te/buffer.h"

namespace te::cuda {

struct Communicator;

// Takes the seat of a world whose processes exchange through NCCL, this one with this GPU. `library`: the file of NCCL,
// or
// "" for the one that is found. Throws te::Error with the way out.
void join_over_nccl(const Seat& seat, const std::string& library, Context& gpu);

// Memory that goes to a member of the group and memory that comes from it.
struct Parcel {
  int64_t to;  // its place in the group, not this process's
  const void* send;
  size_t send_bytes;
  void* receive;
  size_t receive_bytes;
};

// What a collective op of a program exchanges with, of one group of several. A member of its kernel.
class Collective {
 public:
  // `digest`: equal for all members of the group, or they are refused.
  Collective(const RankGroup& group, uint64_t digest);
  ~Collective();
  Collective(const Collective&) = delete;

  // Queues what `body` queues by exchange() and all_gather(). Throws te::Error, which names the op, the rank and who is
  // to blame, when the group does not come together. What goes wrong later is told by world_outcome().
  void run(const std::function<void()>& body);
  void exchange(const std::vector<Parcel>& parcels);
  // to[k] = what member k has at `from`. `from` may be to[place].
  void all_gather(const void* from, void* to, size_t bytes);

 private:
  void count(uint64_t sent) const;
  const RankGroup group_;
  const std::string what_;
  const uint64_t digest_;
  uint32_t place_;
  std::shared_ptr<Communicator> communicator_;
};

// Brings the group together on the host, and gives all of it the data of its first member.
std::string tell_first(const RankGroup& group, const std::string& what, const std::string& data);

// A collective that was captured: to be begun again whenever its graph is launched.
struct Note {
  std::shared_ptr<Communicator> communicator;
  uint64_t digest;
  std::string what;
  uint64_t sent = 0;  // bytes
};
using Notes = std::vector<Note>;

// Collectives that this thread runs while it lives are noted, not begun.
class Noting {
 public:
  explicit Noting(Notes& notes);
  ~Noting();
  Noting(const Noting&) = delete;

 private:
  Notes* before_;
};
// Before a graph is launched. Throws te::Error when collectives work no more.
void begin_again(const Notes& notes);

// Bytes that this process has sent so far, by kind of collective: "all_reduce".
std::map<std::string, uint64_t> bytes_over_nccl();

// What the collectives that this thread began since the last call were for; "": there were none.
std::string take_begun();

}  // namespace te::cuda
