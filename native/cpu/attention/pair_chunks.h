// Keys and values of attention in bfloat16, packed as pairs for the unit that multiplies it.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/attention/chunks.h"
#include "cpu/gemm/bfloat16_unit.h"
#include "cpu/gemm/blocking.h"
#include "cpu/gemm/pack.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline bool finite_codes(const uint16_t* row, int64_t n) {
  uint16_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t c = 0; c < n; ++c) largest = std::max<uint16_t>(largest, row[c] & 0x7fffu);
  return largest < 0x7f80u;
}

// The keys or values of one head as right operands of products, made chunk by chunk when first needed: with keys down
// (pairs of successive keys), across (pairs along the depth, keys as columns), or both. A key that holds an infinity or
// a NaN is kept as zeros where keys lie down, as in FloatChunks.
class PairChunks : public ChunkOwners {
 public:
  PairChunks(Carver& carver, int64_t keys, int64_t depth, int64_t slots, bool down, bool across)
      : ChunkOwners(carver, keys, depth, slots), even_(round_up(depth, 2)) {
    if (down) down_ = carver.take<uint16_t>(slots * down_size());
    if (across) across_ = carver.take<uint16_t>(slots * kChunk * even_);
  }

  void load(const Problem& p, const void* data, const Rows& rows, int64_t b, int64_t group, int64_t chunk) {
    if (!claim(p, b, group, chunk)) return;
    const int64_t n = std::min(kChunk, keys() - chunk * kChunk), first = rows.at(b, chunk * kChunk, group);
    const char* from = static_cast<const char*>(data) + first * 2;
    for (int64_t j = 0; j < n; ++j) prefetch_bytes(from + j * rows.position * 2, depth() * 2);
    if (across_) {
      const PanelLayout layout{kPairPanel, even_, 2, divide_up(n, kPairPanel)};
      pack_right({p.dtype, from, rows.position, 1}, depth(), n, layout, across_ + slot() * kChunk * even_);
    }
    if (!down_) return;
    uint16_t* to = down_ + slot() * down_size();
    const PanelLayout layout{kPairPanel, kChunk, 2, divide_up(depth(), kPairPanel)};
    pack_right({p.dtype, from, 1, rows.position}, n, depth(), layout, to);
    for (int64_t j = 0; j < n; ++j)
      if (!finite_codes(static_cast<const uint16_t*>(data) + first + j * rows.position, depth())) clear(j, to);
  }

  const uint16_t* rows() const { return down_ + slot() * down_size(); }
  const uint16_t* panels() const { return across_ + slot() * kChunk * even_; }

 private:
  int64_t down_size() const { return kChunk * round_up(depth(), kPairPanel); }

  void clear(int64_t key, uint16_t* to) {
    found_not_finite();
    to += key / 2 * 2 * kPairPanel + key % 2;
    for (int64_t c = 0; c < depth(); ++c) to[c / kPairPanel * kChunk * kPairPanel + c % kPairPanel * 2] = 0;
  }

  int64_t even_;
  uint16_t *down_ = nullptr, *across_ = nullptr;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
