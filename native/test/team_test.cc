// The team of threads: every range is run once, by one thread at a time of each number, and what holds up a thread
// holds up no more than its range.
#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "te/parallel.h"
#include "test/harness.h"

using namespace te;
using namespace te::test;

namespace {

constexpr int kThreads = 4;

using Range = std::pair<int64_t, int64_t>;

// The ranges of one call, in order of their beginnings; what a thread of each number is doing is counted.
std::vector<Range> ranges_of(int64_t n, int64_t grain) {
  std::vector<std::atomic<int64_t>> ends(static_cast<size_t>(n));
  std::vector<std::atomic<int>> busy(static_cast<size_t>(num_threads()));
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    expect(busy.at(static_cast<size_t>(worker()))++ == 0, "two threads of one number");
    expect(ends[static_cast<size_t>(begin)].exchange(end) == 0, "a range is run twice");
    --busy[static_cast<size_t>(worker())];
  });
  std::vector<Range> ranges;
  for (int64_t i = 0; i < n; ++i)
    if (ends[static_cast<size_t>(i)]) ranges.emplace_back(i, ends[static_cast<size_t>(i)].load());
  return ranges;
}

void check_ranges() {
  for (int threads : {1, 2, 3, kThreads}) {
    set_num_threads(threads);
    for (int64_t n : {1, 2, 7, 31, 100, 4097}) {
      for (int64_t grain : {1, 3, 64}) {
        const std::vector<Range> ranges = ranges_of(n, grain);
        int64_t at = 0;
        for (const auto& [begin, end] : ranges) {
          expect(begin == at, "ranges follow one another");
          at = end;
        }
        expect(at == n, "ranges cover all");
        expect(threads > 1 || ranges.size() == 1, "one thread takes all at once");
        expect(static_cast<int64_t>(ranges.size()) <= (n + grain - 1) / grain, "ranges hold the grain");
        for (int again = 0; again < 20; ++again)
          expect(ranges_of(n, grain) == ranges, "ranges are the same in every call");
      }
    }
  }
}

// Whether it comes true, in five seconds at most.
template <class Condition>
bool comes_true(const Condition& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::yield();
  }
  return true;
}

// A thread beside the caller stays in its first range until all others are done.
void check_held_up() {
  set_num_threads(2);
  const int64_t n = ranges_for_team();
  for (int again = 0; again < 200 && failures() == 0; ++again) {
    std::atomic<int64_t> done{0}, held{0};
    std::atomic<bool> entered{false}, late{false};
    parallel_for(n, 1, [&](int64_t, int64_t) {
      if (worker() == 1) {
        ++held;
        entered = true;
        if (!comes_true([&] { return done >= n - 1; })) late = true;
      }
      // The caller waits for the other in its first range, so that there is one to hold up.
      if (!comes_true([&] { return entered.load(); })) late = true;
      ++done;
    });
    expect(done == n, "all ranges are done");
    expect(held == 1 && !late, "the caller takes what the other has not begun");
  }
}

void check_failures() {
  set_num_threads(kThreads);
  for (int again = 0; again < 200; ++again) {
    std::string caught;
    try {
      parallel_for(1000, 1, [&](int64_t begin, int64_t end) {
        if (begin <= 500 && 500 < end) throw std::runtime_error("500");
      });
    } catch (const std::runtime_error& error) {
      caught = error.what();
    }
    expect(caught == "500", "the error of a range is the caller's");
    expect(ranges_of(100, 1).back().second == 100, "and the team goes on");
  }
}

void check_inner() {
  set_num_threads(kThreads);
  std::atomic<int64_t> sum{0};
  parallel_for(64, 1, [&](int64_t begin, int64_t end) {
    const int outer = worker();
    for (int64_t i = begin; i < end; ++i) {
      parallel_for(100, 1, [&](int64_t from, int64_t to) {
        expect(worker() == outer, "work of a range stays on its thread");
        for (int64_t j = from; j < to; ++j) sum += j;
      });
    }
  });
  expect(sum == 64 * 4950, "inner ranges cover all");
}

// Threads that call at once: one has the team, the others work alone.
void check_callers() {
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 3; ++caller) {
    callers.emplace_back([] {
      use_threads(kThreads);
      const std::vector<Range> ranges = ranges_of(100, 1);
      for (int again = 0; again < 500; ++again)
        expect(ranges_of(100, 1) == ranges, "ranges are the same for every caller");
    });
  }
  for (std::thread& caller : callers) caller.join();
}

// Threads that have gone to sleep come back.
void check_pauses() {
  set_num_threads(2);
  for (int again = 0; again < 20 && failures() == 0; ++again) {
    std::this_thread::sleep_for(std::chrono::microseconds(50 * again));
    std::atomic<bool> helped{false};
    parallel_for(2, 1, [&](int64_t begin, int64_t) {
      if (worker() == 1) helped = true;
      if (begin == 0) comes_true([&] { return helped.load(); });
    });
    expect(helped, "another thread takes the second range");
  }
}

}  // namespace

int main() {
  check_ranges();
  check_held_up();
  check_failures();
  check_inner();
  check_callers();
  check_pauses();
  return test::failures();
}
