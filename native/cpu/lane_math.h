// The exponential and the logistic function of a whole vector: few instructions, short chains of them.
#pragma once
#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "cpu/lanes.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

typedef uint32_t LaneBits __attribute__((vector_size(sizeof(Lanes))));

inline __attribute__((always_inline)) void put_lanes(float* to, Lanes v) { std::memcpy(to, &v, sizeof v); }

// (The compiler makes two instructions of a comparison and a choice of 512 bits; these are one.)
inline __attribute__((always_inline)) Lanes smaller_of(Lanes x, float limit) {  // NaN stays
  const Lanes bound = limit - Lanes{};
#if defined(__AVX512F__)
  return _mm512_maskz_min_ps(0xffff, bound, x);
#else
  return x > bound ? bound : x;
#endif
}

// Where x is NaN, y.
inline __attribute__((always_inline)) Lanes larger_of(Lanes x, Lanes y) {
#if defined(__AVX512F__)
  return _mm512_maskz_max_ps(0xffff, x, y);
#else
  return x > y ? x : y;
#endif
}

// kept where x >= limit or x is NaN, else 0.
inline __attribute__((always_inline)) Lanes zero_below(Lanes x, float limit, Lanes kept) {
#if defined(__AVX512F__)
  return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_set1_ps(limit), _CMP_NLT_UQ), kept);
#else
  return x < Lanes{} + limit ? Lanes{} : kept;
#endif
}

// x log2(e) = n + r with |r| <= 1/2. The constant that rounds to n also holds the exponent's bias, so that a shift
// makes 2^n of `bits`.
struct PowerOfE {
  Lanes r;
  LaneBits bits;
};
template <bool kBrief = false>
inline __attribute__((always_inline)) PowerOfE power_of_e(Lanes x, float sign) {
  constexpr float kMagic = 12582912.0f + 127.0f;  // 1.5 * 2^23 + bias
  const float high = sign * 1.44269502f;
  const Lanes shifted = x * high + kMagic, n = shifted - kMagic;
#if defined(__FMA__)
  const Lanes r = x * high - n;
  return {kBrief ? r : r + x * (sign * 1.92596303e-8f), reinterpret_cast<LaneBits>(shifted)};
#else  // the product would be rounded: n times the upper part of ln 2 is not
  const Lanes r = (x * sign - n * 0.693145752f) - n * 1.42860677e-6f;
  return {r * 1.44269502f, reinterpret_cast<LaneBits>(shifted)};
#endif
}

// 2^r for |r| <= 1/2, exactly 1 at 0; relative error 1e-7, or 3e-6 when `kBrief` (minimax).
template <bool kBrief = false>
inline __attribute__((always_inline)) Lanes exp2_fraction(Lanes r) {
  const Lanes square = r * r;
  if constexpr (kBrief) {
    const Lanes middle = r * 0.055906426f + 0.24024099f, low = r * 0.6931242f + 1.0f;
    return (square * 0.009582853f + middle) * square + low;
  } else {
    const Lanes high = r * 0.0013264727f + 0.009671513f;
    const Lanes middle = r * 0.055507336f + 0.24022242f, low = r * 0.693147f + 1.0f;
    return (high * square + middle) * square + low;
  }
}

// e^x for weights: within 2 units in the last place for x in [-87, 88], 0 below; NaN gives NaN; undefined above 88.
// `kBrief`: relative error 5e-6, for results that are rounded to 16 bits.
template <bool kBrief = false>
inline __attribute__((always_inline)) Lanes weight_exp_lanes(Lanes x) {
  const PowerOfE power = power_of_e<kBrief>(x, 1);
  const Lanes y = exp2_fraction<kBrief>(power.r) * reinterpret_cast<Lanes>(power.bits << 23);
  return zero_below(x, -87.0f, y);
}

// 1 / (1 + e^-x), within about 4 units in the last place; exactly 0 below -88. `kBrief`: relative error 1e-4, for
// results that are rounded to bfloat16, which is forty times as coarse.
template <bool kBrief = false>
inline __attribute__((always_inline)) Lanes sigmoid_lanes(Lanes x) {
  const PowerOfE power = power_of_e<kBrief>(smaller_of(x, 87.0f), -1);
  const Lanes d = exp2_fraction<kBrief>(power.r) * reinterpret_cast<Lanes>(power.bits << 23) + 1.0f;
#if defined(__AVX512F__)
  const Lanes guess = _mm512_maskz_rcp14_ps(0xffff, d);
  const Lanes y = kBrief ? guess : guess + guess * (1.0f - d * guess);  // one step of Newton's method
#else
  const Lanes y = 1.0f / d;
#endif
  return zero_below(x, -88.0f, y);
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
