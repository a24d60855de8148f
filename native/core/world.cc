// The world of this process over MPI: pairs of processes send to each other, so that a message can name who is missing.
#include "te/world.h"

#include <sched.h>

#include <algorithm>
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
enum Tag : int { kHead = 1, kRest = 2 };

// What the first message of a parcel begins with.
struct Header {
  uint32_t program;
  uint64_t bytes;
  char what[48];
};

// The first message: as much as MPI sends without asking. Small parcels are whole in it.
struct Head {
  Header header;
  char data[3968 - sizeof(Header)];
};
size_t in_head(size_t bytes) { return std::min(bytes, sizeof(Head::data)); }

// Seconds without progress. A process that was stopped so ends all within 30 s, with what mpirun takes to end them.
constexpr double kTimeout = 25;

struct World {
  const Mpi* mpi = nullptr;
  int rank = 0, size = 1;
  std::mutex mutex;    // MPI is called by one thread at a time
  std::string broken;  // why no exchange works any more
  bool has_left = false;
  double timeout = kTimeout;
  std::vector<Head> heads;               // of the exchange under way
  std::map<std::string, uint64_t> sent;  // bytes, by kind
};

World& world() {
  static auto* one = new World;  // outlives every static
  return *one;
}

std::string describe(const std::string& what, uint32_t program) {
  if (program == 0) return what;
  char hash[16];
  std::snprintf(hash, sizeof hash, "%08x", program);
  return what + " of program " + hash;
}

// A message under way. `parcel`: which one's head it brings; -1 for others.
struct Pending {
  Mpi::Handle request = nullptr;
  int peer;
  bool is_receive;
  int parcel = -1;
  bool done = false;
};

// Everything is sent at once. The rest of what comes is received once its head has said that the peer does the same, so
// that nothing is written before.
class Exchange {
 public:
  Exchange(World& world, const Purpose& purpose, const std::vector<Parcel>& parcels)
      : world_(world), mpi_(*world.mpi), purpose_(purpose), parcels_(parcels) {}

  void run() {
    const size_t n = parcels_.size();
    if (world_.heads.size() < 2 * n) world_.heads.resize(2 * n);
    Head* came = world_.heads.data();
    Head* sent = came + n;
    for (size_t i = 0; i < n; ++i) {
      const Parcel& p = parcels_[i];
      receive(p.peer, &came[i], sizeof(Head), kHead);
      pending_.back().parcel = static_cast<int>(i);
      sent[i].header = {purpose_.program, p.send_bytes, {}};
      std::snprintf(sent[i].header.what, sizeof(Header::what), "%s", purpose_.what.c_str());
      const size_t small = in_head(p.send_bytes);
      if (small > 0) std::memcpy(sent[i].data, p.send, small);
      send(p.peer, &sent[i], sizeof(Header) + small, kHead);
    }
    for (const Parcel& p : parcels_) {
      const size_t small = in_head(p.send_bytes);
      send(p.peer, static_cast<const char*>(p.send) + small, p.send_bytes - small, kRest);
    }
    wait();
  }

 private:
  // Peers tell each other what they do: the same, or the exchange fails.
  void open(const Parcel& parcel, Head& head) {
    Header& other = head.header;
    other.what[sizeof other.what - 1] = 0;
    const bool is_same =
        other.program == purpose_.program && purpose_.what.compare(0, sizeof other.what - 1, other.what) == 0;
    if (!is_same || other.bytes != parcel.receive_bytes)
      fail("rank " + std::to_string(parcel.peer) + " is at " + describe(other.what, other.program) +
           ": all processes must run the same programs in the same order");
    const size_t small = in_head(parcel.receive_bytes);
    if (small > 0) std::memcpy(parcel.receive, head.data, small);
    receive(parcel.peer, static_cast<char*>(parcel.receive) + small, parcel.receive_bytes - small, kRest);
  }

  void send(int peer, const void* data, size_t bytes, Tag tag) {
    start(peer, false, const_cast<void*>(data), bytes, tag);
  }
  void receive(int peer, void* data, size_t bytes, Tag tag) { start(peer, true, data, bytes, tag); }

  void start(int peer, bool is_receive, void* data, size_t bytes, Tag tag) {
    for (size_t at = 0; at < bytes; at += kMostBytes) {
      const int n = static_cast<int>(std::min(kMostBytes, bytes - at));
      Pending p{nullptr, peer, is_receive};
      char* from = static_cast<char*>(data) + at;
      const int code = is_receive ? mpi_.irecv(from, n, mpi_.type_byte, peer, tag, mpi_.comm_world, &p.request)
                                  : mpi_.isend(from, n, mpi_.type_byte, peer, tag, mpi_.comm_world, &p.request);
      check(code, peer);
      pending_.push_back(p);
    }
  }

  void wait() {
    auto last = Clock::now();
    for (int idle = 0;;) {
      bool moved = false, left = false;
      for (size_t i = 0; i < pending_.size(); ++i) {
        if (pending_[i].done) continue;
        if (test(i))
          moved = true;
        else
          left = true;
      }
      if (moved) {
        last = Clock::now();
        idle = 0;
      } else if (!left) {
        return;
      } else {
        rest(++idle);
        if (std::chrono::duration<double>(Clock::now() - last).count() > world_.timeout) give_up();
      }
    }
  }

  // Whether message i is over by now.
  bool test(size_t i) {
    Pending& p = pending_[i];
    int flag = 0;
    check(mpi_.test(&p.request, &flag, mpi_.status_ignore), p.peer);
    if (!flag) return false;
    p.done = true;
    if (const int parcel = p.parcel; parcel >= 0)
      open(parcels_[static_cast<size_t>(parcel)], world_.heads[static_cast<size_t>(parcel)]);
    return true;
  }

  // At first at once again, then after others had the core, then after a nap.
  static void rest(int idle) {
    if (idle < 200) return;
    if (idle < 2000)
      sched_yield();
    else
      std::this_thread::sleep_for(std::chrono::microseconds(50));
  }

  // A peer that sent nothing is named rather than one that took nothing: that one may wait for the first.
  [[noreturn]] void give_up() {
    std::stable_partition(pending_.begin(), pending_.end(), [](const Pending& p) { return p.is_receive; });
    for (const Pending& p : pending_) {
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

  // What has not begun to come is not wanted any more: its place may be another's soon.
  [[noreturn]] void fail(const std::string& why) {
    for (Pending& p : pending_)
      if (p.is_receive && !p.done) mpi_.cancel(&p.request);
    const std::string name = purpose_.name.empty() ? "" : ", " + purpose_.name + ",";
    world_.broken =
        describe(purpose_.what, purpose_.program) + name + " on rank " + std::to_string(world_.rank) + ": " + why + ".";
    throw Error("backend", world_.broken);
  }

  World& world_;
  const Mpi& mpi_;
  const Purpose& purpose_;
  const std::vector<Parcel>& parcels_;
  std::vector<Pending> pending_;
};

}  // namespace

std::string describe(const Purpose& purpose) { return describe(purpose.what, purpose.program); }

double collective_timeout() {
  const std::string text = setting("TE_COLLECTIVE_TIMEOUT");
  if (text.empty()) return kTimeout;
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (*end == '\0' && seconds > 0) return seconds;
  note_problem("TE_COLLECTIVE_TIMEOUT must be a positive number of seconds, got \"" + text + "\"; 25 is used.");
  return kTimeout;
}

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
  w.timeout = collective_timeout();
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

void break_world(const std::string& why) {
  World& w = world();
  std::lock_guard lock(w.mutex);
  if (w.broken.empty()) w.broken = why;
}

int world_rank() { return world().rank; }
int world_size() { return world().size; }

void exchange(const std::vector<Parcel>& parcels, const Purpose& purpose) {
  if (parcels.empty()) return;
  World& w = world();
  std::lock_guard lock(w.mutex);
  if (!w.broken.empty()) throw Error("backend", w.broken);
  Exchange(w, purpose, parcels).run();
  uint64_t& sent = w.sent[purpose.what.substr(0, purpose.what.find(' '))];
  for (const Parcel& parcel : parcels) sent += parcel.send_bytes;
}

std::map<std::string, uint64_t> sent_bytes() {
  World& w = world();
  std::lock_guard lock(w.mutex);
  return w.sent;
}

}  // namespace te
