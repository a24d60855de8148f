// Rows of float32, bfloat16 or float16 in steps of two vectors, decoded, computed with and rounded in registers.
// A word holds two bfloat16 numbers: a step comes apart into its even and its odd numbers by a shift and a mask, and is
// joined again without a permutation. (Numbers of the other types keep their order.) What else takes part in a step,
// such as a row of weights in float32, must lie in the same order: the order of pairs.
#pragma once
#include <algorithm>
#include <limits>
#include <type_traits>

#include "cpu/simd/convert.h"
#include "cpu/simd/lane_math.h"
#include "cpu/simd/stream.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

template <DType T>
using Stored = std::conditional_t<T == DType::float32, float, uint16_t>;

inline constexpr int64_t kPair = 2 * kLanes;

struct LanePair {
  Lanes first, second;
};

template <class F>
inline __attribute__((always_inline)) LanePair map_pair(LanePair x, const F& f) {
  return {f(x.first), f(x.second)};
}

template <class F>
inline __attribute__((always_inline)) LanePair map_pair(LanePair x, LanePair y, const F& f) {
  return {f(x.first, y.first), f(x.second, y.second)};
}

inline __attribute__((always_inline)) Lanes load_float16(const uint16_t* from) {
#if defined(__AVX512F__)
  return _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
#elif defined(__F16C__)
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
#elif defined(__ARM_NEON)
  return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from)));
#else
  Lanes x;
  for (int i = 0; i < kLanes; ++i) x[i] = float16_to_float(from[i]);
  return x;
#endif
}

inline __attribute__((always_inline)) void store_float16(uint16_t* to, Lanes x) {
#if defined(__AVX512F__)
  const __m256i codes = _mm512_maskz_cvtps_ph(0xffff, x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), codes);
#elif defined(__F16C__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__ARM_NEON)
  vst1_u16(to, vreinterpret_u16_f16(vcvt_f16_f32(x)));
#else
  for (int i = 0; i < kLanes; ++i) to[i] = float_to_float16(x[i]);
#endif
}

inline __attribute__((always_inline)) LanePair operator*(LanePair x, LanePair y) {
  return {x.first * y.first, x.second * y.second};
}

inline __attribute__((always_inline)) LanePair& operator+=(LanePair& x, LanePair y) {
  x.first += y.first;
  x.second += y.second;
  return x;
}

template <DType T>
inline __attribute__((always_inline)) LanePair load_whole_pair(const Stored<T>* from) {
  if constexpr (T == DType::bfloat16) {
    LaneBits words;
    std::memcpy(&words, from, sizeof words);
    return {reinterpret_cast<Lanes>(words << 16), reinterpret_cast<Lanes>(words & 0xffff0000u)};
  } else if constexpr (T == DType::float16) {
    return {load_float16(from), load_float16(from + kLanes)};
  } else {
    return {lanes_at<Lanes>(from), lanes_at<Lanes>(from + kLanes)};
  }
}

// The bits of x rounded to bfloat16 (the lower half is not cleared). A NaN must have come from bfloat16 numbers or from
// arithmetic alone: its lower half is zero then, and it stays what it is without further care.
inline __attribute__((always_inline)) LaneBits rounded_bits(Lanes x) {
  const LaneBits bits = reinterpret_cast<LaneBits>(x);
#if defined(__AVX512F__)
  const __m512i u = reinterpret_cast<__m512i>(bits);
  const __m512i up = _mm512_maskz_add_epi32(0xffff, u, _mm512_set1_epi32(0x7fff));
  const __mmask16 odd = _mm512_test_epi32_mask(u, _mm512_set1_epi32(0x10000));
  return reinterpret_cast<LaneBits>(_mm512_mask_sub_epi32(up, odd, up, _mm512_set1_epi32(-1)));
#else
  return bits + 0x7fffu + ((bits >> 16) & 1u);
#endif
}

template <DType T>
inline __attribute__((always_inline)) void store_whole_pair(Stored<T>* to, LanePair x) {
  if constexpr (T == DType::bfloat16) {
    const LaneBits words = (rounded_bits(x.first) >> 16) | (rounded_bits(x.second) & 0xffff0000u);
    std::memcpy(to, &words, sizeof words);
  } else if constexpr (T == DType::float16) {
    store_float16(to, x.first);
    store_float16(to + kLanes, x.second);
  } else {
    put_lanes(to, x.first);
    put_lanes(to + kLanes, x.second);
  }
}

template <DType T>
inline float number_at(const Stored<T>* from) {
  float x;
  load_row(T, from, 1, &x);
  return x;
}

// The number of a whole step, known to the compiler.
using WholePair = std::integral_constant<int64_t, kPair>;

// `count` numbers, and `fill` behind them.
template <DType T, class Count>
inline __attribute__((always_inline)) LanePair load_pair(const Stored<T>* from, Count count, Stored<T> fill = 0) {
  if constexpr (std::is_same_v<Count, WholePair>) {
    return load_whole_pair<T>(from);
  } else {
    Stored<T> row[kPair];
    std::fill(row, row + kPair, fill);
    std::memcpy(row, from, static_cast<size_t>(count) * sizeof *row);
    return load_whole_pair<T>(row);
  }
}

template <DType T, class Count>
inline __attribute__((always_inline)) void store_pair(Stored<T>* to, LanePair x, Count count) {
  if constexpr (std::is_same_v<Count, WholePair>) {
    store_whole_pair<T>(to, x);
  } else {
    Stored<T> row[kPair];
    store_whole_pair<T>(row, x);
    std::memcpy(to, row, static_cast<size_t>(count) * sizeof *row);
  }
}

// Asks for what a walk that has come to this step will read, or write: see stream.h.
template <class Number>
inline __attribute__((always_inline)) void read_ahead_of_pair(const Number* from) {
  read_ahead<kPair* static_cast<int64_t>(sizeof(Number))>(from);
}
template <class Number>
inline __attribute__((always_inline)) void write_ahead_of_pair(Number* to, int64_t ahead) {
  write_ahead<kPair* static_cast<int64_t>(sizeof(Number))>(to, ahead);
}

// Calls step(i, count) for every step of a row of n numbers: all of them whole but the last.
template <class Step>
inline __attribute__((always_inline)) void for_pairs(int64_t n, const Step& step) {
  int64_t i = 0;
  for (; i + kPair <= n; i += kPair) step(i, WholePair());
  if (i < n) step(i, n - i);
}

// Rows of float32 in the order of pairs of T. Unless they are in plain order, they need room for whole steps.
template <DType T, class Count>
inline __attribute__((always_inline)) LanePair load_ordered(const float* from, Count count) {
  if constexpr (T == DType::bfloat16)
    return load_whole_pair<DType::float32>(from);
  else
    return load_pair<DType::float32>(from, count);
}

template <DType T, class Count>
inline __attribute__((always_inline)) void store_ordered(float* to, LanePair x, Count count) {
  if constexpr (T == DType::bfloat16)
    store_whole_pair<DType::float32>(to, x);
  else
    store_pair<DType::float32>(to, x, count);
}

// K sums over a row: in float32 over blocks and in double over the blocks, so that long rows lose no digits.
// add(i, count, sums) adds the terms of the step at i to sums[0..K), and zeros behind the end of the row.
template <int K, class Add>
inline __attribute__((always_inline)) void accumulate_pairs(int64_t n, double* totals, const Add& add) {
  constexpr int64_t kBlock = 4096;
  std::fill(totals, totals + K, 0.0);
  for (int64_t first = 0; first < n; first += kBlock) {
    const int64_t end = std::min(n, first + kBlock);
    LanePair sums[K] = {}, others[K] = {};
    int64_t i = first;
    for (; i + 2 * kPair <= end; i += 2 * kPair) {
      add(i, WholePair(), sums);
      add(i + kPair, WholePair(), others);
    }
    for_pairs(end - i, [&](int64_t k, auto count) { add(i + k, count, sums); });
    for (int k = 0; k < K; ++k) {
      sums[k] += others[k];
      totals[k] += static_cast<double>(add_lanes(sums[k].first + sums[k].second));
    }
  }
}

// NaN with an empty lower half, for rounded_bits.
inline float plain_nan(float x) { return x == x ? x : bits_float(0x7fc00000u); }

// Brings a row of float32 into the order of pairs of T: numbers of the row with plain NaN, and zeros behind its end.
template <DType T>
inline void pair_order(float* row, int64_t n) {
  if (T != DType::bfloat16) return;
  for (int64_t i = 0; i < n; i += kPair) {
    float step[kPair];
    for (int k = 0; k < kPair; ++k) step[k] = i + k < n ? plain_nan(row[i + k]) : 0.0f;
    for (int k = 0; k < kPair; ++k) row[i + k] = step[k < kLanes ? 2 * k : 2 * (k - kLanes) + 1];
  }
}

// Where number i of a row is in that order.
template <DType T>
inline int64_t place_in_pairs(int64_t i) {
  return T == DType::bfloat16 ? i / kPair * kPair + i % 2 * kLanes + i % kPair / 2 : i;
}

// The reverse.
template <DType T>
inline void plain_order(float* row, int64_t n) {
  if (T != DType::bfloat16) return;
  for (int64_t i = 0; i < n; i += kPair) {
    float step[kPair];
    std::memcpy(step, row + i, sizeof step);
    for (int k = 0; k < kPair; ++k) row[i + k] = step[k % 2 * kLanes + k / 2];
  }
}

template <DType T>
inline constexpr Stored<T> kOne = T == DType::bfloat16 ? 0x3f80 : 0x3c00;
template <>
inline constexpr float kOne<DType::float32> = 1;

// 1 where load_pair has numbers of the row, 0 where it fills.
template <DType T>
inline LanePair present(int64_t count) {
  Stored<T> ones[kPair];
  std::fill(ones, ones + kPair, kOne<T>);
  return load_pair<T>(ones, count);
}

// x where load_pair has numbers of the row, 0 where it fills (whatever became of that).
template <DType T>
inline LanePair only_present(LanePair x, int64_t count) {
  return map_pair(x, present<T>(count), [](Lanes v, Lanes one) { return one > Lanes{} ? v : Lanes{}; });
}

template <DType T>
inline constexpr Stored<T> kMinusInfinity = T == DType::bfloat16 ? 0xff80 : 0xfc00;
template <>
inline constexpr float kMinusInfinity<DType::float32> = -std::numeric_limits<float>::infinity();

// body(std::integral_constant<DType, type>) for the run-time float type.
template <class Body>
inline void with_float_type(DType type, const Body& body) {
  if (type == DType::bfloat16) return body(std::integral_constant<DType, DType::bfloat16>());
  if (type == DType::float16) return body(std::integral_constant<DType, DType::float16>());
  return body(std::integral_constant<DType, DType::float32>());
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
