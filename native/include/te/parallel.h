// Threads. A process has one team; how many of it share a kernel is TE_NUM_THREADS (default: the cores of the machine).
#pragma once
#include <algorithm>
#include <cstdint>

namespace te {

inline constexpr int kLargestTeam = 1024;

// How many threads share the work of the calling thread: what a kernel plans its scratch for in prepare and has in run.
int num_threads();
// Sets the number for programs prepared from now on.
void set_num_threads(int n);

// For the executor: a program runs with as many threads as it was prepared for.
int wanted_threads();
void use_threads(int n);

// Which of the threads that share a parallel_for runs this range: below num_threads(), and no two at once.
int worker();

// Ranges that work is cut into: some for each thread, so that one which another process holds up leaves its share to
// the others.
inline int64_t ranges_for(int64_t threads) { return threads == 1 ? 1 : 8 * threads; }
inline int64_t ranges_for_team() { return ranges_for(num_threads()); }

// Calls run(body, range) for every range in [0, ranges), each once, on those of `threads` threads that are free. A
// thread begins with ranges of its own, the same in every call, whose memory its cache may hold, then takes what others
// left. An exception is rethrown on the calling thread; ranges not begun by then are left out.
void share_ranges(int64_t ranges, int threads, void (*run)(const void* body, int64_t range), const void* body);

// Calls body(begin, end) on disjoint ranges that cover [0, n). Ranges hold about `grain` items at least, so that small
// work stays on one thread; where they begin depends on n, grain and the number of threads alone. worker() is below
// `threads`, at most those of the team.
template <class Body>
void parallel_for(int64_t n, int64_t grain, const Body& body, int threads = num_threads()) {
  if (n <= 0) return;
  const int64_t ranges = n <= grain ? 1 : std::min(ranges_for(threads), (n + grain - 1) / std::max<int64_t>(grain, 1));
  if (ranges <= 1) return body(int64_t{0}, n);
  const auto run = [&](int64_t range) { body(n * range / ranges, n * (range + 1) / ranges); };
  share_ranges(
      ranges, threads, [](const void* at, int64_t range) { (*static_cast<const decltype(run)*>(at))(range); }, &run);
}

// Calls body(item) for every item in [0, n), each of which is long beside the microsecond that it takes to share it.
template <class Body>
void parallel_for_each(int64_t n, const Body& body) {
  if (n > 0)
    share_ranges(
        n, num_threads(), [](const void* at, int64_t item) { (*static_cast<const Body*>(at))(item); }, &body);
}

}  // namespace te
