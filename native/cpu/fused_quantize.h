// The last step of kernels whose float32 result goes to float8 directly: q = float8(clip(y * scale)), amax = max |y|.
// amax is taken on the bits, where NaN is larger than infinity and infinity larger than any number, so that both show.
#pragma once
#include <bit>

#include "cpu/rows.h"
#include "cpu/simd/lane_pairs.h"
#include "cpu/simd/word_formats.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// The float8 codes of a step of rows of T.
template <DType T, class Count>
inline __attribute__((always_inline)) void store_codes(uint8_t* to, Words first, Words second, Count count) {
  uint8_t codes[kPair];
  uint8_t* place = std::is_same_v<Count, WholePair> ? to : codes;
  if constexpr (T == DType::bfloat16) {
    store_halves(place, first | second << 8);
  } else {
    store_bytes(place, first);
    store_bytes(place + kLanes, second);
  }
  if (place != to) std::memcpy(to, codes, static_cast<size_t>(count));
}

inline __attribute__((always_inline)) Words larger_words(Words x, Words y) { return x > y ? x : y; }

// Stores the codes of a step of finite numbers, scaled; returns the larger magnitudes of its halves.
template <DType T, DType Q, class Count>
inline __attribute__((always_inline)) Words quantize_step(LanePair x, float scale, uint8_t* q, Count count) {
  const Words first = as_words(x.first * scale), second = as_words(x.second * scale);
  store_codes<T>(q, encode_finite<Q>(first), encode_finite<Q>(second), count);
  return larger_words(as_words(x.first) & 0x7fffffffu, as_words(x.second) & 0x7fffffffu);
}

// q = float8(clip(y * scale)) for n numbers y, float32 in the order of pairs of T; returns the bits of max |y|. The row
// y is lost.
template <DType T, DType Q>
[[gnu::noinline]] inline int32_t quantize_ordered(float* y, int64_t n, float scale, uint8_t* q) {
  // Nothing points to it: a store of codes could change it otherwise, and it would leave its register.
  Words most = {};
  int64_t i = 0;
  for (; i + kPair <= n; i += kPair)
    most = larger_words(most, quantize_step<T, Q>(load_ordered<T>(y + i, WholePair()), scale, q + i, WholePair()));
  if (i < n) {
    const LanePair rest = only_present<T>(load_ordered<T>(y + i, n - i), n - i);
    most = larger_words(most, quantize_step<T, Q>(rest, scale, q + i, n - i));
  }
  uint32_t largest = 0;
  for (int lane = 0; lane < kLanes; ++lane) largest = std::max<uint32_t>(largest, most[lane]);
  if (largest >= 0x7f800000u || !(std::abs(scale) < std::numeric_limits<float>::infinity())) {  // once more, with care
    plain_order<T>(y, n);
    for (int64_t i = 0; i < n; ++i) y[i] *= scale;
    store_row(Q, y, n, q, true);
  }
  return static_cast<int32_t>(largest);
}

// The same for the float8 type q.
template <DType T>
inline int32_t quantize_ordered(DType type, float* y, int64_t n, float scale, uint8_t* q) {
  return type == DType::float8_e4m3fn ? quantize_ordered<T, DType::float8_e4m3fn>(y, n, scale, q)
                                      : quantize_ordered<T, DType::float8_e5m2>(y, n, scale, q);
}

// One amax per part in scratch, each on its own cache line.
class PartMaxima {
 public:
  static size_t bytes(int64_t parts) { return static_cast<size_t>(parts) * 64; }
  PartMaxima(void* scratch, int64_t parts) : first_(static_cast<int32_t*>(scratch)), parts_(parts) {
    for (int64_t i = 0; i < parts; ++i) first_[i * 16] = 0;
  }
  void add(int64_t part, int32_t amax) const { first_[part * 16] = std::max(first_[part * 16], amax); }
  float all() const {
    int32_t largest = 0;
    for (int64_t i = 0; i < parts_; ++i) largest = std::max(largest, first_[i * 16]);
    return std::bit_cast<float>(largest);
  }

 private:
  int32_t* first_;
  int64_t parts_;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
