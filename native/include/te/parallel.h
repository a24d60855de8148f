// Threads. One OpenMP team, shared with oneDNN; its size is TE_NUM_THREADS (default: the cores of the machine).
#pragma once
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>

namespace te {

// The size of the team of the calling thread: what a kernel plans its scratch for in prepare and has in run.
int num_threads();
// Sets the size for programs prepared from now on.
void set_num_threads(int n);

// For the executor: a program runs with the team that it was prepared for.
int wanted_threads();
void use_threads(int n);

// Calls body(begin, end) on disjoint ranges that cover [0, n). Ranges hold at least `grain` items, so that small work
// stays on one thread. An exception in the body is rethrown on the calling thread.
template <class Body>
void parallel_for(int64_t n, int64_t grain, const Body& body) {
  if (n <= 0) return;
  const int64_t pieces =
      n <= grain ? 1 : std::min<int64_t>(num_threads(), (n + grain - 1) / std::max<int64_t>(grain, 1));
  if (pieces <= 1 || omp_in_parallel()) {
    body(int64_t{0}, n);
    return;
  }
  std::exception_ptr failure;
#pragma omp parallel num_threads(static_cast <int>(pieces)) shared(failure)
  {
    const int64_t team = omp_get_num_threads(), rank = omp_get_thread_num();
    const int64_t begin = n * rank / team, end = n * (rank + 1) / team;
    try {
      if (begin < end) body(begin, end);
    } catch (...) {
#pragma omp critical(te_parallel_failure)
      failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace te
