// The exponential and the logistic function of a whole vector: few instructions, short chains of them.
#pragma once
#include <array>
#include <bit>
#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include "cpu/simd/lanes.h"
#include "te/dtype.h"

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

// How exact a function is: enough for a result that is rounded to that type. The relative errors of e^x are 1e-7, 7e-6
// (float16) and 4e-5 (bfloat16, whose own roundings are fifty times as large).
template <DType T>
inline constexpr bool kIsExact = T == DType::float32;

// x log2(e) = n + r with |r| <= 1/2. The constant that rounds to n also holds the exponent's bias, so that a shift
// makes 2^n of `bits`.
struct PowerOfE {
  Lanes r;
  LaneBits bits;
};
template <DType T>
inline __attribute__((always_inline)) PowerOfE power_of_e(Lanes x, float sign) {
  constexpr float kMagic = 12582912.0f + 127.0f;  // 1.5 * 2^23 + bias
  const float high = sign * 1.44269502f;
  const Lanes shifted = x * high + kMagic, n = shifted - kMagic;
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  const Lanes r = x * high - n;
  return {kIsExact<T> ? r + x * (sign * 1.92596303e-8f) : r, reinterpret_cast<LaneBits>(shifted)};
#else  // the product would be rounded: n times the upper part of ln 2 is not
  const Lanes r = (x * sign - n * 0.693145752f) - n * 1.42860677e-6f;
  return {r * 1.44269502f, reinterpret_cast<LaneBits>(shifted)};
#endif
}

// 2^r for |r| <= 1/2, exactly 1 at 0 (minimax).
template <DType T>
inline __attribute__((always_inline)) Lanes exp2_fraction(Lanes r) {
  const Lanes square = r * r;
  if constexpr (kIsExact<T>) {
    const Lanes high = r * 0.0013264727f + 0.009671513f;
    const Lanes middle = r * 0.055507336f + 0.24022242f, low = r * 0.693147f + 1.0f;
    return (high * square + middle) * square + low;
  } else {
    const Lanes middle = r * 0.055906426f + 0.24024099f, low = r * 0.6931242f + 1.0f;
    return (square * 0.009582853f + middle) * square + low;
  }
}

#if defined(__AVX512F__)
// 2^(j / 32) (1 + 3e-5) for j = 0 .. 31, less j in the bits that a shift of j by 18 occupies.
alignas(64) inline constexpr auto kRootsOfTwo = [] {
  std::array<uint32_t, 32> roots{};
  double root = 1.00002933;
  for (uint32_t j = 0; j < 32; ++j, root *= 1.0218971486541166)
    roots[j] = std::bit_cast<uint32_t>(static_cast<float>(root)) - (j << 18);
  return roots;
}();

// e^(sign x) = 2^(k / 32) e^r = 2^(k / 32) (1 + r) with |r| <= ln 2 / 64. The error 1 + r - e^r, at most 6e-5, lies on
// one side, and the table is in the middle of it. The upper bits of k are the exponent, the lower choose the root.
inline __attribute__((always_inline)) Lanes coarse_exp(Lanes x, float sign) {
  constexpr float kMagic = 12582912.0f;
  const Lanes shifted = x * (sign * 46.1662413f) + kMagic, k = shifted - kMagic;
  const Lanes r = x * sign - k * 0.0216608494f;
  const __m512i code = reinterpret_cast<__m512i>(shifted);
  const __m512i roots = _mm512_maskz_permutex2var_epi32(0xffff, _mm512_load_si512(kRootsOfTwo.data()), code,
                                                        _mm512_load_si512(kRootsOfTwo.data() + 16));
  const Lanes y = reinterpret_cast<Lanes>((reinterpret_cast<LaneBits>(code) << 18) + reinterpret_cast<LaneBits>(roots));
  return y * r + y;
}
#endif

// e^(sign x) for sign x in [-87, 88].
template <DType T>
inline __attribute__((always_inline)) Lanes normal_exp(Lanes x, float sign) {
#if defined(__AVX512F__)
  if constexpr (T == DType::bfloat16) return coarse_exp(x, sign);
#endif
  const PowerOfE power = power_of_e<T>(x, sign);
  return exp2_fraction<T>(power.r) * reinterpret_cast<Lanes>(power.bits << 23);
}

#if defined(__AVX512DQ__)
// e^x of any x: one instruction takes r, 0 <= r < 1, from x log2(e) = n + r, and one multiplies 2^r by 2^n, with 0 and
// infinity where that is too small or large. The relative error 3e-6 of 2^r is minimax among polynomials that are 1 at
// 0; rounding x log2(e) adds 5e-8 |x|.
inline __attribute__((always_inline)) Lanes rough_exp(Lanes x) {
  const Lanes power = x * 1.44269504f;
  const Lanes r = _mm512_maskz_reduce_ps(0xffff, power, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC), square = r * r;
  const Lanes middle = r * 0.05224242f + 0.24128023f, low = r * 0.69304484f + 1.0f;
  return _mm512_maskz_scalef_ps(0xffff, (square * 0.01342672f + middle) * square + low, power);
}
#endif

// e^x for weights: within 2 units in the last place for x in [-87, 88] (float32), 0 far below; NaN gives NaN; undefined
// above 88.
template <DType T = DType::float32>
inline __attribute__((always_inline)) Lanes weight_exp_lanes(Lanes x) {
#if defined(__AVX512DQ__)
  if constexpr (T == DType::float16) return rough_exp(x);
#endif
  return zero_below(x, -87.0f, normal_exp<T>(x, 1));
}

// 1 / (1 + e^-x), within about 4 units in the last place (float32); relative error 1e-4 for bfloat16. Exactly 0 below
// -88.
template <DType T = DType::float32>
inline __attribute__((always_inline)) Lanes sigmoid_lanes(Lanes x) {
  const Lanes d = normal_exp<T>(smaller_of(x, 87.0f), -1) + 1.0f;
#if defined(__AVX512F__)
  const Lanes guess = _mm512_maskz_rcp14_ps(0xffff, d);
  const Lanes y = T == DType::bfloat16 ? guess : guess + guess * (1.0f - d * guess);  // one step of Newton's method
#else
  const Lanes y = 1.0f / d;
#endif
  return zero_below(x, -88.0f, y);
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
