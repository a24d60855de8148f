// How many threads a team has: what was asked for, what the machine has, and what can be started.
#include "te/parallel.h"

#include <pthread.h>

#include <cctype>
#include <charconv>
#include <climits>
#include <condition_variable>
#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>
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

int processors() { return std::max(1, omp_get_num_procs()); }

// More threads than these only wait for each other.
int thread_limit() { return std::max(64, 4 * processors()); }

// The stack that libgomp gives its threads: OMP_STACKSIZE, in units of B, K (also without one), M or G; 0: the
// system's.
size_t stack_bytes() {
  const std::string text = setting("OMP_STACKSIZE");
  char unit = 'K';
  unsigned long long size = 0;
  if (std::sscanf(text.c_str(), "%llu %c", &size, &unit) < 1) return 0;
  const size_t shift = std::string_view("BKMG").find(static_cast<char>(std::toupper(unit)));
  return shift < 4 && size < (1ull << 30) ? static_cast<size_t>(size) << (10 * shift) : 0;
}

// How many of n threads can be started at once besides a few for Node.js itself. libgomp ends the process when it gets
// fewer than it wants, so they are tried before it wants them.
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
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  if (const size_t bytes = stack_bytes()) pthread_attr_setstacksize(&attributes, bytes);
  std::vector<pthread_t> started;
  pthread_t thread;
  while (static_cast<int>(started.size()) < n - 1 + kOthers && pthread_create(&thread, &attributes, wait, &gate) == 0)
    started.push_back(thread);
  pthread_attr_destroy(&attributes);
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

// OpenMP keeps the size of the team per calling thread; this is what that thread was last told.
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

void use_threads(int n) {
  if (applied == n) return;
  applied = n;
  omp_set_num_threads(n);
}

}  // namespace te
