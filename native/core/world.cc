// The world of this process over MPI: pairs of processes send to each other, so that a message can name who is missing.
#include "te/world.h"

#include <sched.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include "core/mpi.h"
#include "te/settings.h"
#include "te/status.h"

namespace te {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSerialized = 2;                  // MPI_THREAD_SERIALIZED: any thread, one at a time
constexpr size_t kMostBytes = size_t{1} << 26;  // of one message: more are several
enum Tag : int { kHeader = 1, kData = 2 };

// What goes ahead of the data of each exchange.
struct Header {
  uint32_t program;
  uint64_t bytes;
  char what[52];
};

struct World {
  const Mpi* mpi = nullptr;
  int rank = 0, size = 1;
  std::mutex mutex;    // MPI is called by one thread at a time
  std::string broken;  // why no exchange works any more
  bool has_left = false;
  double timeout = 30;  // seconds without progress
};

World& world() {
  static auto* one = new World;  // outlives every static
  return *one;
}

double read_timeout() {
  const std::string text = setting("TE_COLLECTIVE_TIMEOUT");
  if (text.empty()) return 30;
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (*end == '\0' && seconds > 0) return seconds;
  note_problem("TE_COLLECTIVE_TIMEOUT must be a positive number of seconds, got \"" + text + "\"; 30 is used.");
  return 30;
}

std::string describe(const std::string& what, uint32_t program) {
  if (program == 0) return what;
  char hash[16];
  std::snprintf(hash, sizeof hash, "%08x", program);
  return what + " of program " + hash;
}

// A message under way.
struct Pending {
  Mpi::Handle request = nullptr;
  int peer;
  bool is_receive;
  bool done = false;
};

class Exchange {
 public:
  Exchange(World& world, const Purpose& purpose) : world_(world), mpi_(*world.mpi), purpose_(purpose) {}

  void run(const std::vector<Parcel>& parcels) {
    compare(parcels);
    std::vector<Pending> all;
    for (const Parcel& p : parcels) {
      start(p.peer, false, const_cast<void*>(p.send), p.send_bytes, kData, &all);
      start(p.peer, true, p.receive, p.receive_bytes, kData, &all);
    }
    wait(&all);
  }

 private:
  // Peers tell each other what they do: the same, or the exchange fails before anything is written.
  void compare(const std::vector<Parcel>& parcels) {
    std::vector<Header> mine(parcels.size()), theirs(parcels.size());
    std::vector<Pending> all;
    for (size_t i = 0; i < parcels.size(); ++i) {
      mine[i] = {};
      mine[i].program = purpose_.program;
      mine[i].bytes = parcels[i].send_bytes;
      std::snprintf(mine[i].what, sizeof mine[i].what, "%s", purpose_.what.c_str());
      start(parcels[i].peer, false, &mine[i], sizeof(Header), kHeader, &all);
      start(parcels[i].peer, true, &theirs[i], sizeof(Header), kHeader, &all);
    }
    wait(&all);
    for (size_t i = 0; i < parcels.size(); ++i) {
      Header& other = theirs[i];
      other.what[sizeof other.what - 1] = 0;
      const bool is_same = other.program == mine[i].program && std::strcmp(other.what, mine[i].what) == 0;
      if (is_same && other.bytes == parcels[i].receive_bytes) continue;
      fail("rank " + std::to_string(parcels[i].peer) + " is at " + describe(other.what, other.program) +
           ": all processes must run the same programs in the same order");
    }
  }

  void start(int peer, bool is_receive, void* data, size_t bytes, Tag tag, std::vector<Pending>* all) {
    for (size_t at = 0; at < bytes; at += kMostBytes) {
      const int n = static_cast<int>(std::min(kMostBytes, bytes - at));
      Pending p{nullptr, peer, is_receive};
      char* from = static_cast<char*>(data) + at;
      const int code = is_receive ? mpi_.irecv(from, n, mpi_.type_byte, peer, tag, mpi_.comm_world, &p.request)
                                  : mpi_.isend(from, n, mpi_.type_byte, peer, tag, mpi_.comm_world, &p.request);
      check(code, peer);
      all->push_back(p);
    }
  }

  void wait(std::vector<Pending>* all) {
    size_t left = all->size();
    auto last = Clock::now();
    for (int idle = 0; left > 0;) {
      size_t before = left;
      for (Pending& p : *all) {
        if (p.done) continue;
        int flag = 0;
        check(mpi_.test(&p.request, &flag, mpi_.status_ignore), p.peer);
        if (!flag) continue;
        p.done = true;
        --left;
      }
      if (left < before) {
        last = Clock::now();
        idle = 0;
      } else {
        rest(++idle);
        if (std::chrono::duration<double>(Clock::now() - last).count() > world_.timeout) give_up(*all);
      }
    }
  }

  // At first at once again, then after others had the core, then after a nap.
  static void rest(int idle) {
    if (idle < 200) return;
    if (idle < 2000)
      sched_yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

  [[noreturn]] void give_up(const std::vector<Pending>& all) {
    for (const Pending& p : all) {
      if (p.done) continue;
      char seconds[32];
      std::snprintf(seconds, sizeof seconds, "%g", world_.timeout);
      fail("rank " + std::to_string(p.peer) + (p.is_receive ? " sent nothing for " : " took nothing for ") + seconds +
           " s: it waits, was stopped, or runs something else (TE_COLLECTIVE_TIMEOUT sets how long to wait)");
    }
    fail("nothing moved");
  }

  void check(int code, int peer) {
    if (code == 0) return;
    char text[1024] = {};
    int length = 0;
    mpi_.error_string(code, text, &length);
    fail("rank " + std::to_string(peer) + " cannot be reached: " + text);
  }

  [[noreturn]] void fail(const std::string& why) {
    world_.broken =
        describe(purpose_.what, purpose_.program) + " on rank " + std::to_string(world_.rank) + ": " + why + ".";
    throw Error("backend", world_.broken);
  }

  World& world_;
  const Mpi& mpi_;
  const Purpose& purpose_;
};

}  // namespace

void join_world(const std::string& library) {
  World& w = world();
  std::lock_guard lock(w.mutex);
  if (w.mpi) return;
  const Mpi& mpi = load_mpi(library);
  int is_there = 0, level = kSerialized;
  check_mpi(mpi, mpi.initialized(&is_there), "MPI_Initialized");
  if (!is_there) check_mpi(mpi, mpi.init_thread(nullptr, nullptr, kSerialized, &level), "MPI_Init_thread");
  if (level < kSerialized)
    throw Error("backend",
                "initDistributed: this MPI was built without threads. Install one with MPI_THREAD_SERIALIZED.");
  check_mpi(mpi, mpi.comm_set_errhandler(mpi.comm_world, mpi.errors_return), "MPI_Comm_set_errhandler");
  check_mpi(mpi, mpi.comm_rank(mpi.comm_world, &w.rank), "MPI_Comm_rank");
  check_mpi(mpi, mpi.comm_size(mpi.comm_world, &w.size), "MPI_Comm_size");
  w.timeout = read_timeout();
  w.mpi = &mpi;
}

void leave_world() {
  World& w = world();
  if (!w.mpi || w.has_left) return;
  // MPI_Finalize waits without end: what all have come to is found out before.
  std::vector<Parcel> nothing;
  for (int rank = 0; rank < w.size; ++rank)
    if (rank != w.rank) nothing.push_back({rank, nullptr, 0, nullptr, 0});
  exchange(nothing, {"the end", 0});
  std::lock_guard lock(w.mutex);
  w.has_left = true;
  w.broken = "this process has left the world.";
  int is_gone = 0;
  if (w.mpi->finalized(&is_gone) == 0 && !is_gone) w.mpi->finalize();
}

void abort_world(int code) {
  World& w = world();
  if (!w.mpi || w.size == 1 || w.has_left) return;
  // mpirun drops what it has not yet passed on of the output when it ends processes.
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  // Without the lock, which a thread may hold that waits for a peer.
  w.mpi->abort(w.mpi->comm_world, code);
}

int world_rank() { return world().rank; }
int world_size() { return world().size; }

void exchange(const std::vector<Parcel>& parcels, const Purpose& purpose) {
  if (parcels.empty()) return;
  World& w = world();
  std::lock_guard lock(w.mutex);
  if (!w.broken.empty()) throw Error("backend", w.broken);
  Exchange(w, purpose).run(parcels);
}

}  // namespace te
