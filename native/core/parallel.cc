// How many threads a team has: what was asked for, what the machine has, and what can be started.
#include "te/parallel.h"

#include <pthread.h>
#include <sched.h>

#include <atomic>
#include <charconv>
#include <climits>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "te/settings.h"

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

// Those that this process may use.
int processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set))
                                                     : std::max(1u, std::thread::hardware_concurrency());
}

// More threads than these only wait for each other.
int thread_limit() { return std::clamp(4 * processors(), 64, kLargestTeam); }

// How many of n threads can be started at once besides a few for Node.js itself, which ends when it gets none.
int startable(int n) {
  constexpr int kOthers = 8;
  struct Gate {
    std::mutex mutex;
    std::condition_variable opened;
    bool open = false;
  } gate;
  const auto wait = [](void* at) -> void* {
    Gate& gate = *static_cast<Gate*>(at);
    std::unique_lock lock(gate.mutex);
    gate.opened.wait(lock, [&] { return gate.open; });
    return nullptr;
  };
  std::vector<pthread_t> started;
  pthread_t thread;
  while (static_cast<int>(started.size()) < n - 1 + kOthers && pthread_create(&thread, nullptr, wait, &gate) == 0)
    started.push_back(thread);
  {
    std::lock_guard lock(gate.mutex);
    gate.open = true;
  }
  gate.opened.notify_all();
  for (pthread_t each : started) pthread_join(each, nullptr);
  return std::max(1, static_cast<int>(started.size()) - kOthers + 1);
}

// The largest team of at most n threads that can be had. Each size is tried once.
int obtainable(int n) {
  static std::mutex mutex;
  static int had = 1, refused = INT_MAX;
  std::lock_guard lock(mutex);
  n = std::min(n, thread_limit());
  if (n > had && n < refused) {
    const int got = std::min(n, startable(n));
    if (got < n) refused = got + 1;
    had = std::max(had, got);
  }
  return std::min(n, had);
}

std::string count(int n) { return std::to_string(n) + (n == 1 ? " thread" : " threads"); }

int default_threads() {
  const int quota = quota_threads();
  const int usual = quota > 0 ? std::min(processors(), quota) : processors();
  const std::string wish = setting("TE_NUM_THREADS");
  int64_t asked = 0;
  const auto [end, error] = std::from_chars(wish.data(), wish.data() + wish.size(), asked);
  const bool number = !wish.empty() && end == wish.data() + wish.size() && error != std::errc::invalid_argument;
  if (number && error == std::errc::result_out_of_range && wish[0] != '-') asked = INT64_MAX;
  const bool valid = number && asked >= 1;
  const int n = valid ? static_cast<int>(std::min<int64_t>(asked, thread_limit())) : usual;
  const int used = obtainable(n);
  const std::string are_used = count(used) + (used == 1 ? " is used." : " are used.");
  const std::string range = "an integer from 1 to " + std::to_string(thread_limit());
  if (!wish.empty() && (!valid || asked > thread_limit()))
    note_problem("TE_NUM_THREADS must be " + range + ", got \"" + wish + "\"; " + are_used);
  if (used < n) note_problem(count(n) + " cannot be started (a limit on processes or on memory); " + are_used);
  return used;
}

std::atomic<int>& wanted() {
  static std::atomic<int> n{default_threads()};
  return n;
}

// What this thread was last told.
thread_local int applied = 0;

}  // namespace

int num_threads() {
  if (applied == 0) use_threads(wanted().load(std::memory_order_relaxed));
  return applied;
}

void set_num_threads(int n) {
  const int used = obtainable(std::max(1, n));
  wanted().store(used);
  use_threads(used);
}

int wanted_threads() { return wanted().load(std::memory_order_relaxed); }

void use_threads(int n) { applied = n; }

}  // namespace te
