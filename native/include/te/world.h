// The processes that a program runs on together: who they are, and how they exchange memory.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace te {

// Joins the processes that mpirun started with this one; blocks until all have. `library`: the file of MPI, or "" for
// the one that is found. Throws te::Error with the way out. A second call does nothing.
void join_world(const std::string& library);
// After the work of all processes; blocks until all have come here. Nothing where no world was joined. Throws te::Error
// as `exchange` does: also where a peer is still at something.
void leave_world();
// Ends all processes, this one too, with an exit status. Nothing where this one is alone.
void abort_world(int code);

// 0 of 1 until a world is joined.
int world_rank();
int world_size();

// What this process is doing, for its peers to compare with and for messages to name.
struct Purpose {
  std::string what;      // "all_reduce for dot"
  uint32_t program = 0;  // equal for equal programs; 0: of none
  std::string name{};    // of what it is for, for messages of this process alone
};
// "all_reduce for dot of program 5e0c1f2a"
std::string describe(const Purpose& purpose);

// TE_COLLECTIVE_TIMEOUT: how many seconds without progress a process waits for another.
double collective_timeout();

// Memory that goes to a peer and memory that comes from it.
struct Parcel {
  int peer;  // a rank, not this one's
  const void* send;
  size_t send_bytes;
  void* receive;
  size_t receive_bytes;
};

// Sends and receives all parcels, and returns when that is done. Throws te::Error, which names the rank, when a peer
// does something else, or when nothing has come from it for TE_COLLECTIVE_TIMEOUT seconds (25). From then on the world
// is broken and every exchange fails with that error.
void exchange(const std::vector<Parcel>& parcels, const Purpose& purpose);
// Makes every later exchange of this process fail with an error.
void break_world(const std::string& why);

// Bytes that this process has sent so far, by the first word of the purpose: "all_reduce".
std::map<std::string, uint64_t> sent_bytes();

}  // namespace te
