// The pool: size classes, the limit of what is kept, and the sizes that no machine has.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "te/buffer.h"
#include "te/sanitize.h"
#include "te/status.h"

namespace te {
namespace {

constexpr size_t kHuge = size_t{2} << 20;

// Eight classes per power of two: at most an eighth is wasted, and sizes that differ a little share blocks.
size_t size_class(size_t bytes) {
  if (kExactMemory) return bytes;
  if (bytes <= 512) return (std::max<size_t>(bytes, 1) + 63) & ~size_t{63};
  const int top = 63 - __builtin_clzll(bytes);
  const size_t step = size_t{1} << (top - 3);
  return (bytes + step - 1) & ~(step - 1);
}

void* allocate(size_t bytes) {
  void* data = nullptr;
  if (posix_memalign(&data, bytes >= 2 * kHuge ? kHuge : 64, bytes) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
  if (bytes >= 2 * kHuge) madvise(data, bytes & ~(kHuge - 1), MADV_HUGEPAGE);
#endif
  return data;
}

size_t cache_limit() {
  static const size_t limit = std::max<size_t>(size_t{64} << 20, machine_memory() / 8);
  return limit;
}

}  // namespace

std::string format_bytes(double bytes) {
  const char* units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
  int unit = 0;
  while (bytes >= 1000 && unit < 6) bytes /= 1000, ++unit;
  char text[40];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
  return text;
}

size_t machine_memory() {
  static const size_t bytes = [] {
    size_t total = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
    std::ifstream file("/sys/fs/cgroup/memory.max");  // "max" does not parse and leaves the machine's own size
    size_t limit = 0;
    if (file >> limit && limit > 0) total = std::min(total, limit);
    return total;
  }();
  return bytes;
}

void check_memory(size_t bytes, size_t used) {
  if (bytes > machine_memory() || used > machine_memory() - bytes)
    throw Error("memory", "cannot allocate " + format_bytes(static_cast<double>(bytes)) + ": " +
                              format_bytes(static_cast<double>(used)) + " are in use and the machine has " +
                              format_bytes(static_cast<double>(machine_memory())) +
                              ". Use a smaller batch, checkpoint, or dispose tensors earlier.");
}

Pool& Pool::get() {
  static Pool* pool = new Pool;  // outlives every static
  return *pool;
}

void* Pool::take(size_t bytes) {
  if (bytes > (size_t{1} << 60)) check_memory(bytes, 0);
  const size_t size = size_class(bytes);
  std::lock_guard lock(mutex_);
  void* data = nullptr;
  const auto found = free_.find(size);
  if (found != free_.end() && !found->second.empty()) {
    data = found->second.back();
    found->second.pop_back();
    stats_.cached -= size;
  } else {
    check_memory(bytes, stats_.used);
    data = allocate(size);
    if (!data) {
      trim_locked();
      data = allocate(size);
    }
    if (!data) check_memory(bytes, machine_memory());
  }
  stats_.used += size;
  stats_.peak = std::max(stats_.peak, stats_.used);
  return data;
}

void Pool::give(void* data, size_t bytes) {
  if (!data) return;
  const size_t size = size_class(bytes);
  std::lock_guard lock(mutex_);
  stats_.used -= size;
  if (kExactMemory || stats_.cached + size > cache_limit()) {
    std::free(data);
    return;
  }
  free_[size].push_back(data);
  stats_.cached += size;
}

void Pool::trim() {
  std::lock_guard lock(mutex_);
  trim_locked();
}

void Pool::trim_locked() {
  for (auto& [size, list] : free_)
    for (void* data : list) std::free(data);
  free_.clear();
  stats_.cached = 0;
}

Pool::Stats Pool::stats() {
  std::lock_guard lock(mutex_);
  return stats_;
}

void Pool::reset_peak() {
  std::lock_guard lock(mutex_);
  stats_.peak = stats_.used;
}

}  // namespace te
