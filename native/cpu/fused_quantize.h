// The last step of kernels whose float32 result goes to float8 directly: q = float8(clip(y * scale)), amax = max |y|.
// amax is taken on the bits, where NaN is larger than infinity and infinity larger than any number, so that both show.
#pragma once
#include <bit>
#include <cmath>

#include "cpu/rows.h"
#include "cpu/simd/float8_codes.h"
#include "cpu/simd/lane_pairs.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline __attribute__((always_inline)) Words larger_words(Words x, Words y) { return x > y ? x : y; }

// Stores the codes of a step of finite numbers, scaled; returns the larger magnitudes of its halves.
template <DType T, DType Q, class Count>
inline __attribute__((always_inline)) Words quantize_step(LanePair x, float scale, uint8_t* q, Count count) {
  const Words first = as_words(x.first), second = as_words(x.second);
  const Words a = first & 0x7fffffffu, b = second & 0x7fffffffu;
  const Halves codes = Float8Codes<Q>::template of<T == DType::bfloat16>(as_words(as_floats(a) * scale),
                                                                         as_words(as_floats(b) * scale), first, second);
  if constexpr (std::is_same_v<Count, WholePair>) {
    store_low_bytes(q, codes);
  } else {
    uint8_t step[kPair];
    store_low_bytes(step, codes);
    std::memcpy(q, step, static_cast<size_t>(count));
  }
  return larger_words(a, b);
}

// q = float8(clip(y * scale)) for the row y of which each(step) calls step(i, count, y) for every step of pairs of T.
// Returns the bits of max |y|; when is_plain says no to it, q has still to be computed with care.
template <DType T, DType Q, class Each>
inline __attribute__((always_inline)) uint32_t quantize_each(float scale, uint8_t* q, const Each& each) {
  Words most = {};
  each([&](int64_t i, auto count, LanePair y) {
    if constexpr (!std::is_same_v<decltype(count), WholePair>) y = only_present<T>(y, count);
    most = larger_words(most, quantize_step<T, Q>(y, scale, q + i, count));
  });
  uint32_t largest = 0;
  for (int lane = 0; lane < kLanes; ++lane) largest = std::max<uint32_t>(largest, most[lane]);
  return largest;
}

// Whether all magnitudes up to this one are finite and, scaled, in the range of Float8Codes.
inline bool is_plain(uint32_t largest, float scale) {
  return bits_float(largest) * scale < 0x1p100f && !std::signbit(scale);
}

// q = float8(clip(y * scale)) for any n numbers y, float32 in the order of pairs of T. The row y is lost.
template <DType T>
inline void quantize_carefully(DType type, float* y, int64_t n, float scale, uint8_t* q) {
  plain_order<T>(y, n);
  for (int64_t i = 0; i < n; ++i) y[i] *= scale;
  store_row(type, y, n, q, true);
}

// The same, quickly where it can be; returns the bits of max |y|.
template <DType T, DType Q>
[[gnu::noinline]] inline uint32_t quantize_ordered(float* y, int64_t n, float scale, uint8_t* q) {
  const uint32_t largest = quantize_each<T, Q>(scale, q, [=](const auto& step) {
    for_pairs(n, [&](int64_t i, auto count) { step(i, count, load_ordered<T>(y + i, count)); });
  });
  if (!is_plain(largest, scale)) quantize_carefully<T>(Q, y, n, scale, q);
  return largest;
}

// body(std::integral_constant<DType, type>) for the run-time float8 type.
template <class Body>
inline auto with_float8(DType type, const Body& body) {
  return type == DType::float8_e4m3fn ? body(std::integral_constant<DType, DType::float8_e4m3fn>())
                                      : body(std::integral_constant<DType, DType::float8_e5m2>());
}

// One amax per part in scratch, each on its own cache line.
class PartMaxima {
 public:
  static size_t bytes(int64_t parts) { return static_cast<size_t>(parts) * 64; }
  PartMaxima(void* scratch, int64_t parts) : first_(static_cast<uint32_t*>(scratch)), parts_(parts) {
    for (int64_t i = 0; i < parts; ++i) first_[i * 16] = 0;
  }
  void add(int64_t part, uint32_t amax) const { first_[part * 16] = std::max(first_[part * 16], amax); }
  float all() const {
    uint32_t largest = 0;
    for (int64_t i = 0; i < parts_; ++i) largest = std::max(largest, first_[i * 16]);
    return std::bit_cast<float>(largest);
  }

 private:
  uint32_t* first_;
  int64_t parts_;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
