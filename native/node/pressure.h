// When to look for garbage. V8 sees a few bytes per tensor, and what its finalizers release waits for a turn of the
// event loop; a loop that never awaits would hold the garbage of every step. So whoever adds memory looks for it
// himself: first among the young objects, which is cheap, and among all when that frees too little. Both are due when
// the memory held has grown by a part of itself, so that the cost per byte is bounded.
#pragma once
#include <algorithm>
#include <cstddef>

namespace te {

class Pressure {
 public:
  explicit Pressure(size_t capacity) : capacity_(capacity) {}

  bool due(size_t held) const { return held > base_ + growth_; }

  // After a look that left `held`: whether half of the growth is gone.
  bool relieved(size_t held) {
    if (held > base_ + growth_ / 2) return false;
    rebase(held);
    return true;
  }
  // After a look among the young that freed too little: whether it is time for one among all.
  bool all_due(size_t held) const { return held > all_base_ + all_growth_; }

  // After a look among all that took `ms` of the thread's time. The next is due when more was written than it costs.
  void looked_at_all(size_t held, double ms) {
    all_base_ = held;
    const size_t paid = std::min(static_cast<size_t>(ms) * kBytesPerMs, kMostPaid);
    all_growth_ = std::max(kAll, std::min(std::max(held, paid), room(held)));
    rebase(held);
  }
  void rebase(size_t held) {
    base_ = held;
    growth_ = std::max(kYoung, std::min(held / 4, room(held)));
  }

 private:
  static constexpr size_t kYoung = size_t{16} << 20, kAll = size_t{32} << 20, kBytesPerMs = size_t{8} << 20,
                          kMostPaid = size_t{128} << 20;
  size_t room(size_t held) const { return held < capacity_ ? (capacity_ - held) / 4 : 0; }

  const size_t capacity_;  // bytes that there are in all
  size_t base_ = 0, growth_ = kYoung;
  size_t all_base_ = 0, all_growth_ = kAll;
};

}  // namespace te
