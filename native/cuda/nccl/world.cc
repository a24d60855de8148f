// A thread reads what the referee says, and watches how the GPU gets on with its collectives. It ends a process that
// does nothing more when another has ended: nobody else can, where the processes were started one by one.
#include "cuda/nccl/world.h"

#include <poll.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>
#include <thread>

#include "cuda/nccl/frames.h"
#include "cuda/nccl/referee.h"
#include "te/status.h"

namespace te::cuda {
namespace {

constexpr int kTick = 50;                         // milliseconds between two looks at the GPU
constexpr auto kGrace = std::chrono::seconds(3);  // for the referee to say who is late
// From the end of another process in an error to that of this one: for its own error, in its own words.
constexpr auto kFarewell = std::chrono::seconds(5);

Clock::duration seconds(double s) {
  return std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(s));
}

std::string seconds_text(double s) {
  char text[32];
  std::snprintf(text, sizeof text, "%g", s);
  return std::string(text) + " s";
}

class World {
 public:
  void join(const Seat& seat, Guarded& guarded) {
    seat_ = seat;
    guarded_ = &guarded;
    stopped_ = is_broken_ = is_welcome_ = is_whole_ = false;  // of an attempt that failed
    broken_.clear();
    lost_ = -1;
    Address address = parse_address(seat.coordinator);
    if (seat.rank == 0) {
      const int listener = seat.listener >= 0 ? seat.listener : listen_at(address.port, &address.port);
      referee_ = std::make_unique<Referee>(listener, seat.size, seat.timeout);
      address.host = "localhost";
    }
    const auto deadline = Clock::now() + seconds(seat.timeout);
    connection_ = std::make_unique<Connection>(connect_to(address, deadline, seat.timeout));
    Frame hello{Frame::Kind::hello};
    hello.rank = seat.rank, hello.size = seat.size;
    connection_->send(hello);
    thread_ = std::thread([this] { loop(); });
    std::unique_lock lock(mutex_);
    changed_.wait_until(lock, deadline + kGrace, [this] { return is_welcome_ || !broken_.empty(); });
    if (is_welcome_ && broken_.empty()) return void(has_joined_ = true);
    const std::string why = broken_.empty() ? "initDistributed: rank 0 does not answer." : broken_;
    lock.unlock();
    stop();
    throw Error("backend", why);
  }

  std::string meet(const Frame& frame) {
    std::unique_lock lock(mutex_);
    require(frame.what);
    met_.erase(frame.key);
    meeting_ = frame.what;
    lock.unlock();
    send(frame);
    lock.lock();
    const auto is_met = [&] { return met_.count(frame.key) || !broken_.empty(); };
    if (!changed_.wait_for(lock, seconds(seat_.timeout), is_met)) {
      lock.unlock();
      Frame stuck = frame;
      stuck.kind = Frame::Kind::stuck;
      send(stuck);
      lock.lock();
      changed_.wait_for(lock, kGrace, is_met);
    }
    meeting_.clear();
    if (!met_.count(frame.key) && broken_.empty()) give_up(frame.what);
    require(frame.what);
    std::string data = std::move(met_[frame.key]);
    met_.erase(frame.key);
    return data;
  }

  void send(Frame frame) {
    frame.rank = seat_.rank;
    if (!connection_->send(frame)) break_for("rank 0 cannot be reached");
  }

  // After the last meeting.
  void leave() {
    send({Frame::Kind::bye});
    stop();
  }
  void stop() {
    stopped_ = true;
    connection_->shut();
    if (thread_.joinable()) thread_.join();
    referee_ = nullptr;
    has_joined_ = false;
  }

  // `why` is a sentence, or what is to follow the name of a collective.
  void break_for(const std::string& why, std::string what = "") {
    {
      std::lock_guard lock(mutex_);
      if (!broken_.empty()) return;
      if (what.empty()) what = meeting_;
      if (what.empty())
        if (const uint64_t at = guarded_->at()) what = guarded_->place(at).what;
      is_whole_ = why.back() == '.' || !what.empty();
      broken_ = why.back() == '.' || what.empty() ? why : named(what, why);
      is_broken_ = true;
    }
    changed_.notify_all();
    guarded_->abort();
  }

  FailurePtr failure(const std::string& what) {
    if (!is_broken_) return nullptr;
    std::lock_guard lock(mutex_);
    return std::make_shared<Failure>(Failure{"backend", text_for(what)});
  }

  Seat seat_;
  std::atomic<bool> has_joined_{false};

 private:
  std::string named(const std::string& what, const std::string& why) const {
    return what + " on rank " + std::to_string(seat_.rank) + ": " + why + ".";
  }
  std::string text_for(const std::string& what) const { return is_whole_ ? broken_ : named(what, broken_); }
  void require(const std::string& what) const {
    if (!broken_.empty()) throw Error("backend", text_for(what));
  }
  // The referee always has one: who is late, or that nobody is.
  std::string no_answer() const {
    return "rank 0 sent nothing for " + seconds_text(seat_.timeout) +
           ": it was stopped, or cannot be reached (TE_COLLECTIVE_TIMEOUT sets how long to wait)";
  }
  void give_up(const std::string& what) {
    broken_ = named(what, no_answer());
    is_whole_ = is_broken_ = true;
  }

  void loop() {
    for (bool is_connected = true; !stopped_;) {
      pollfd ready{is_connected ? connection_->socket() : -1, POLLIN, 0};
      poll(&ready, 1, kTick);
      if (stopped_) return;
      if (ready.revents) is_connected = connection_->receive();
      while (const auto frame = connection_->next()) take(*frame);
      if (!is_connected) lose(0);
      watch();
      follow();
    }
  }

  void take(const Frame& frame) {
    if (frame.kind == Frame::Kind::lost) return lose(frame.rank);
    if (frame.kind == Frame::Kind::broken) return break_for(frame.what);
    {
      std::lock_guard lock(mutex_);
      if (frame.kind == Frame::Kind::welcome) is_welcome_ = true;
      if (frame.kind == Frame::Kind::met) met_[frame.key] = frame.data;
    }
    changed_.notify_all();
  }

  void lose(int rank) {
    if (lost_ >= 0) return;
    lost_ = rank;
    lost_at_ = Clock::now();
    break_for("rank " + std::to_string(rank) + " has ended");
  }

  // Ends this process some time after another: its JavaScript may loop, or wait for what has nothing to do with others.
  void follow() {
    if (!has_joined_ || lost_ < 0 || Clock::now() - lost_at_ < kFarewell) return;
    std::lock_guard lock(mutex_);
    std::fprintf(stderr, "Rank %d of %d did not end with rank %d, and is ended now: %s\n", seat_.rank, seat_.size,
                 lost_, is_whole_ ? broken_.c_str() : (broken_ + ".").c_str());
    _exit(1);
  }

  // A collective that the GPU is at for too long: the referee says why; where it does not, we do.
  void watch() {
    if (is_broken_ || !has_joined_) return;
    const auto now = Clock::now();
    if (const uint64_t at = guarded_->at(); at != at_ || at == 0) {
      at_ = at;
      since_ = now;
      has_asked_ = false;
    } else if (!has_asked_ && now - since_ > seconds(seat_.timeout)) {
      has_asked_ = true;
      const Guarded::Place place = guarded_->place(at);
      Frame stuck{Frame::Kind::stuck};
      stuck.key = place.key, stuck.count = place.count, stuck.ranks = place.ranks, stuck.what = place.what;
      send(stuck);
    } else if (has_asked_ && now - since_ > seconds(seat_.timeout) + kGrace) {
      break_for(no_answer());
    }
    const std::string problem = guarded_->problem();
    if (problem.empty()) {
      troubled_ = {};
    } else if (troubled_ == Clock::time_point{}) {
      troubled_ = now;  // who ends breaks its connections: its end, of which the referee tells, says more
    } else if (now - troubled_ > std::chrono::seconds(1)) {
      break_for("NCCL failed: " + problem);
    }
  }

  Guarded* guarded_ = nullptr;
  std::unique_ptr<Referee> referee_;  // on rank 0
  std::unique_ptr<Connection> connection_;
  std::thread thread_;
  std::atomic<bool> stopped_{false}, is_broken_{false};
  std::mutex mutex_;
  std::condition_variable changed_;
  bool is_welcome_ = false, is_whole_ = false;  // whole: the reason names a collective
  std::string broken_, meeting_;
  std::map<uint64_t, std::string> met_;
  uint64_t at_ = 0;
  Clock::time_point since_, troubled_;
  bool has_asked_ = false;
  int lost_ = -1;  // the rank that was the first to end in an error
  Clock::time_point lost_at_;
};

World& world() {
  static auto* one = new World;  // outlives every static
  return *one;
}

constexpr uint64_t kEnd = 1;  // a meeting's key

}  // namespace

void join(const Seat& seat, Guarded& guarded) { world().join(seat, guarded); }
void leave() {
  if (!has_joined()) return;
  std::vector<int32_t> all(static_cast<size_t>(world_size()));
  for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int32_t>(i);
  meet(kEnd, all, "the end", "");
  world().leave();
}
void desert() {
  if (has_joined()) world().stop();
}

bool has_joined() { return world().has_joined_; }
int world_rank() { return world().seat_.rank; }
int world_size() { return world().seat_.size; }
double world_timeout() { return world().seat_.timeout; }

std::string meet(uint64_t key, const std::vector<int32_t>& ranks, const std::string& what, const std::string& data) {
  Frame frame{Frame::Kind::meet};
  frame.key = key, frame.ranks = ranks, frame.what = what, frame.data = data;
  return world().meet(frame);
}

void tell_at(uint64_t key, uint64_t count, uint64_t digest, const std::string& what) {
  Frame frame{Frame::Kind::at};
  frame.key = key, frame.count = count, frame.digest = digest, frame.what = what;
  world().send(frame);
}

FailurePtr world_failure(const std::string& what) { return world().failure(what); }
void break_world(const std::string& why) {
  Frame broken{Frame::Kind::broken};
  broken.what = why;
  world().send(broken);
  world().break_for(why);
}

}  // namespace te::cuda
