// The team of threads. Work is cut into ranges, and any thread takes any: a kernel waits for ranges that have been
// begun, not for threads. So a thread that the system gives no processor, because another process has it, delays
// nothing but the range that it is in; and if that is the last one, the waiting thread sleeps, which frees its
// processor for the other.
#include <pthread.h>

#include <array>
#include <atomic>
#include <chrono>
#include <exception>
#include <mutex>

#include "te/parallel.h"
#include "te/relax.h"

namespace te {
namespace {

using Clock = std::chrono::steady_clock;
// About what it costs to wake a sleeping thread: kernels of a program follow one another faster than this.
constexpr auto kSpin = std::chrono::microseconds(50);

// Waits until `done`, at first without sleeping; value: what is slept on.
template <class Done>
void await(std::atomic<uint32_t>& value, const Done& done) {
  const Clock::time_point end = Clock::now() + kSpin;
  do {
    for (int i = 0; i < 16; ++i, relax())
      if (done(value.load(std::memory_order_acquire))) return;
  } while (Clock::now() < end);
  for (uint32_t now; !done(now = value.load(std::memory_order_acquire));) value.wait(now, std::memory_order_acquire);
}

thread_local int index_in_team = 0;
thread_local bool inside = false;  // a range, whose own parallel_for stays on this thread

class Team {
 public:
  // Outlives every static: its threads sleep in it until the process is gone.
  static Team& of_process() {
    static Team* const team = new Team;
    return *team;
  }

  // False: another thread has the team.
  bool share(int64_t ranges, int threads, void (*run)(const void*, int64_t), const void* body) {
    std::unique_lock lock(taken_, std::try_to_lock);
    if (!lock) return false;
    start_helpers(threads - 1);
    run_ = run;
    body_ = body;
    failure_ = nullptr;
    const int sharers = static_cast<int>(std::min<int64_t>(threads, ranges));
    sharers_.store(sharers, std::memory_order_relaxed);
    for (int i = 0; i < sharers; ++i) {
      shares_[i].end = ranges * (i + 1) / sharers;
      shares_[i].next.store(ranges * i / sharers, std::memory_order_relaxed);
    }
    gate_.store(kOpen, std::memory_order_release);
    begun_.fetch_add(1, std::memory_order_release);
    begun_.notify_all();
    work(0);
    gate_.fetch_sub(kOpen, std::memory_order_acq_rel);
    await(gate_, [](uint32_t gate) { return gate == 0; });
    if (failure_) std::rethrow_exception(failure_);
    return true;
  }

 private:
  // Of gate_: whether there is work, and as many times kInside as helpers are at it.
  static constexpr uint32_t kOpen = 1, kInside = 2;

  // The ranges of one thread that nobody has begun.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;

    // At least `end`: there is none. Looks before it writes, so that many threads can find nothing at once.
    int64_t take() {
      if (next.load(std::memory_order_relaxed) >= end) return end;
      return next.fetch_add(1, std::memory_order_relaxed);
    }
  };

  // Without them all, the work is done by fewer.
  void start_helpers(int wanted) {
    for (; helpers_ < wanted && !refused_; ++helpers_) {
      auto* start = new Start{this, helpers_ + 1, begun_.load(std::memory_order_relaxed)};
      pthread_t thread;
      const auto main = [](void* at) -> void* {
        const Start s = *static_cast<Start*>(at);
        delete static_cast<Start*>(at);
        s.team->help(s.index, s.begun);
        return nullptr;
      };
      refused_ = pthread_create(&thread, nullptr, main, start) != 0;
      if (refused_) return delete start;
      pthread_detach(thread);
    }
  }

  struct Start {
    Team* team;
    int index;
    uint32_t begun;
  };

  [[noreturn]] void help(int index, uint32_t seen) {
#ifdef __linux__
    pthread_setname_np(pthread_self(), "te-kernels");
#endif
    index_in_team = index;
    for (;;) {
      await(begun_, [&](uint32_t begun) { return begun != seen; });
      seen = begun_.load(std::memory_order_acquire);
      if (!has_share(index) || !enter()) continue;
      if (has_share(index)) work(index);  // of the present call, which may be another now
      if (gate_.fetch_sub(kInside, std::memory_order_acq_rel) == kInside) gate_.notify_one();
    }
  }

  bool has_share(int index) const { return index < sharers_.load(std::memory_order_relaxed); }

  bool enter() {
    uint32_t gate = gate_.load(std::memory_order_relaxed);
    do {
      if (!(gate & kOpen)) return false;
    } while (!gate_.compare_exchange_weak(gate, gate + kInside, std::memory_order_acq_rel));
    return true;
  }

  // Ranges of its own, then those of the next thread, and so on.
  void work(int index) noexcept {
    inside = true;
    const int sharers = sharers_.load(std::memory_order_relaxed);
    for (int i = 0; i < sharers; ++i) {
      Share& share = shares_[(index + i) % sharers];
      for (int64_t range; (range = share.take()) < share.end;) {
        try {
          run_(body_, range);
        } catch (...) {
          fail(std::current_exception());
        }
      }
    }
    inside = false;
  }

  void fail(std::exception_ptr failure) {
    std::lock_guard lock(failing_);
    if (!failure_) failure_ = std::move(failure);
    for (Share& share : shares_) share.next.store(share.end, std::memory_order_relaxed);
  }

  std::mutex taken_, failing_;
  std::atomic<uint32_t> begun_{0}, gate_{0};
  void (*run_)(const void*, int64_t) = nullptr;
  const void* body_ = nullptr;
  std::exception_ptr failure_;
  std::atomic<int> sharers_{1};
  int helpers_ = 0;
  bool refused_ = false;
  std::array<Share, kLargestTeam> shares_;
};

}  // namespace

int worker() { return index_in_team; }

void share_ranges(int64_t ranges, int threads, void (*run)(const void* body, int64_t range), const void* body) {
  if (!inside && threads > 1 && Team::of_process().share(ranges, threads, run, body)) return;
  for (int64_t range = 0; range < ranges; ++range) run(body, range);
}

}  // namespace te
