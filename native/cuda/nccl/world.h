// The processes that a program runs on together, one GPU each: who they are, what they do at the same time, and how
// they learn that one of them is gone. Data goes through NCCL, see communicators.h.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "te/buffer.h"

namespace te::cuda {

// The place of a process in the world.
struct Seat {
  int rank = 0, size = 1;
  std::string coordinator;  // "host:port", at which rank 0 listens
  double timeout = 30;      // seconds to wait for others
  int listener = -1;        // rank 0: a socket that listens there already
};

// What of this process the world looks after.
class Guarded {
 public:
  virtual ~Guarded() = default;
  // A number that changes as the GPU goes from one collective to the next; 0: it is at none.
  virtual uint64_t at() = 0;
  struct Place {
    uint64_t key = 0, count = 0;  // of the group, and how many collectives this process has begun with it
    std::vector<int32_t> ranks;
    std::string what;
  };
  virtual Place place(uint64_t at) = 0;
  virtual std::string problem() = 0;  // what NCCL found wrong; "": nothing
  virtual void abort() = 0;           // makes what the GPU waits for end, with any result
};

// Takes the seat, and returns when all have theirs. `guarded` lives on. Throws te::Error with the way out.
void join(const Seat& seat, Guarded& guarded);
// After the work of all processes; returns when all have come here. Throws te::Error as collectives do.
void leave();
// Leaves without a word: the others end too, or are ended some seconds later.
void desert();

bool has_joined();
int world_rank();
int world_size();
double world_timeout();

// Brings the ranks together for `what`, and gives all of them the data of the first. `key` is theirs alone.
std::string meet(uint64_t key, const std::vector<int32_t>& ranks, const std::string& what, const std::string& data);
// Tells that this process begins collectives of a group, whose history is `digest` then.
void tell_at(uint64_t key, uint64_t count, uint64_t digest, const std::string& what);

// Why no collective works any more, for one that is for `what`; nullptr: they do.
FailurePtr world_failure(const std::string& what);
// Breaks the world of all processes for a reason that this one found, a sentence.
void break_world(const std::string& why);

}  // namespace te::cuda
