// The pool: size classes, the limit of what is kept, and the sizes that no machine has.
#include "te/pool.h"

#include <algorithm>
#include <cstdio>

#include "te/status.h"

namespace te {

std::string format_bytes(double bytes) {
  const char* units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
  int unit = 0;
  while (bytes >= 1000 && unit < 6) bytes /= 1000, ++unit;
  char text[40];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.1f %s", bytes, units[unit]);
  return text;
}

void Pool::expect_room(size_t bytes, size_t used) const {
  if (bytes <= capacity() && used <= capacity() - bytes) return;
  throw Error("memory", "cannot allocate " + format_bytes(static_cast<double>(bytes)) + ": " +
                            format_bytes(static_cast<double>(used)) + " are in use and " + allocator_.owner() +
                            " has " + format_bytes(static_cast<double>(capacity())) +
                            ". Use a smaller batch, checkpoint, or dispose tensors earlier.");
}

// Eight classes per power of two: at most an eighth is wasted, and sizes that differ a little share blocks.
size_t Pool::size_class(size_t bytes) const {
  if (limit_ == 0) return bytes;
  if (bytes <= 512) return (std::max<size_t>(bytes, 1) + 63) & ~size_t{63};
  const int top = 63 - __builtin_clzll(bytes);
  const size_t step = size_t{1} << (top - 3);
  return (bytes + step - 1) & ~(step - 1);
}

void* Pool::take(size_t bytes) {
  if (bytes > (size_t{1} << 60)) expect_room(bytes);
  const size_t size = size_class(bytes);
  std::lock_guard lock(mutex_);
  void* data = nullptr;
  const auto found = free_.find(size);
  if (found != free_.end() && !found->second.empty()) {
    data = found->second.back();
    found->second.pop_back();
    stats_.cached -= size;
  } else {
    expect_room(bytes, stats_.used);
    data = allocator_.allocate(size);
    if (!data) {
      trim_locked();
      data = allocator_.allocate(size);
    }
    if (!data) expect_room(bytes, capacity());
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
  if (limit_ == 0 || stats_.cached + size > limit_) {
    allocator_.release(data);
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
    for (void* data : list) allocator_.release(data);
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
