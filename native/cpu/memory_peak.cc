// The yardstick of kernels that memory limits: copies and readings by all threads.
// te: once
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "te/host_memory.h"
#include "te/parallel.h"
#include "te/peak.h"

namespace te {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The fastest of `pass` in GB/s, each of which moves `bytes`.
template <class Pass>
double best_rate(double seconds, double bytes, const Pass& pass) {
  double best = 0;
  const Clock::time_point start = Clock::now();
  do {
    const Clock::time_point once = Clock::now();
    pass();
    best = std::max(best, bytes / seconds_since(once) / 1e9);
  } while (seconds_since(start) < seconds);
  return best;
}

// Memory of the kind that tensors have.
struct Block {
  explicit Block(size_t size) : bytes(size), data(static_cast<char*>(host_pool().take(size))) {}
  Block(const Block&) = delete;
  ~Block() { host_pool().give(data, bytes); }
  size_t bytes;
  char* data;
};

}  // namespace

double measure_copy_bandwidth(double seconds, size_t moved) {
  const int64_t bytes = static_cast<int64_t>(std::max<size_t>(moved / 2, 64));
  const Block from(static_cast<size_t>(bytes)), to(static_cast<size_t>(bytes));
  auto copy = [&] {
    parallel_for(bytes, 1 << 16, [&](int64_t begin, int64_t end) {
      std::memcpy(to.data + begin, from.data + begin, static_cast<size_t>(end - begin));
    });
  };
  std::memset(from.data, 1, static_cast<size_t>(bytes));
  copy();
  return best_rate(seconds, 2.0 * static_cast<double>(bytes), copy);
}

double measure_read_bandwidth(double seconds, size_t bytes) {
  typedef uint64_t Line __attribute__((vector_size(64)));
  const int64_t lines = static_cast<int64_t>(std::max<size_t>(bytes / sizeof(Line), 1));
  const Block block(static_cast<size_t>(lines) * sizeof(Line));
  std::memset(block.data, 1, block.bytes);
  const Line* from = reinterpret_cast<const Line*>(block.data);
  std::atomic<uint64_t> seen{0};  // so that the readings are not left out
  return best_rate(seconds, static_cast<double>(block.bytes), [&] {
    parallel_for(lines, 1 << 10, [&](int64_t begin, int64_t end) {
      Line sum{};
      for (int64_t i = begin; i < end; ++i) sum ^= from[i];
      seen.fetch_xor(sum[0] ^ sum[7], std::memory_order_relaxed);
    });
  });
}

}  // namespace te
