#include "te/parallel.h"

#include <cstdio>
#include <cstdlib>

namespace te {
namespace {

// A container may own fewer processors than the machine shows: the control group's quota, rounded up, or 0.
int quota_threads() {
  std::FILE* file = std::fopen("/sys/fs/cgroup/cpu.max", "r");
  if (!file) return 0;
  long long quota = 0, period = 0;
  const int read = std::fscanf(file, "%lld %lld", &quota, &period);
  std::fclose(file);
  return read == 2 && quota > 0 && period > 0 ? static_cast<int>((quota + period - 1) / period) : 0;
}

int default_threads() {
  if (const char* text = std::getenv("TE_NUM_THREADS")) {
    const int n = std::atoi(text);
    if (n > 0) return n;
  }
  const int cores = std::max(1, omp_get_num_procs()), quota = quota_threads();
  return quota > 0 ? std::min(cores, quota) : cores;
}

std::atomic<int>& wanted() {
  static std::atomic<int> n{default_threads()};
  return n;
}

// OpenMP keeps the size of the team per calling thread; this is what that thread was last told.
thread_local int applied = 0;

}  // namespace

int num_threads() {
  if (applied == 0) use_threads(wanted().load(std::memory_order_relaxed));
  return applied;
}

void set_num_threads(int n) {
  wanted().store(std::max(1, n));
  use_threads(std::max(1, n));
}

int wanted_threads() { return wanted().load(std::memory_order_relaxed); }

void use_threads(int n) {
  if (applied == n) return;
  applied = n;
  omp_set_num_threads(n);
}

}  // namespace te
