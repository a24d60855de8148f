// Rows of numbers between float32 and any other format, with the conversions of formats.h.
#pragma once
#include <cstdint>
#include <cstring>
#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include "cpu/simd/formats.h"
#include "te/dtype.h"

namespace te {
namespace TE_ISA_NAMESPACE {

inline void bfloat16_row_to_float(const uint16_t* from, int64_t n, float* to) {
  int64_t i = 0;
#if defined(__AVX512BW__)
  for (; i + 16 <= n; i += 16) {
    const __m256i codes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i));
    _mm512_storeu_si512(to + i, _mm512_maskz_slli_epi32(0xffff, _mm512_maskz_cvtepu16_epi32(0xffff, codes), 16));
  }
#else
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) to[k] = bfloat16_to_float(from[k]);
  i = n;
#endif
  for (; i < n; ++i) to[i] = bfloat16_to_float(from[i]);
}

#if defined(__AVX512BW__)
// bfloat16_bits of sixteen numbers: the last kept bit of an ordered number decides between adding 0x7fff and 0x8000.
inline __m512i bfloat16_bits_16(__m512i u) {
  const __m512 x = _mm512_castsi512_ps(u);
  const __mmask16 ordered = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
  const __mmask16 odd = _mm512_mask_test_epi32_mask(ordered, u, _mm512_set1_epi32(0x10000));
  const __m512i nan = _mm512_or_si512(_mm512_and_si512(u, _mm512_set1_epi32(INT32_MIN)), _mm512_set1_epi32(0x7fc00000));
  const __m512i rounded = _mm512_mask_add_epi32(nan, ordered, u, _mm512_set1_epi32(0x7fff));
  return _mm512_mask_add_epi32(rounded, odd, u, _mm512_set1_epi32(0x8000));
}

// The upper halves of the words of `low`, then of `high`.
inline __m512i upper_halves(__m512i low, __m512i high) {
  const __m512i odd = _mm512_set_epi16(63, 61, 59, 57, 55, 53, 51, 49, 47, 45, 43, 41, 39, 37, 35, 33, 31, 29, 27, 25,
                                       23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
  return _mm512_permutex2var_epi16(low, odd, high);
}

inline __m512i bfloat16_codes_32(const float* x) {
  return upper_halves(bfloat16_bits_16(_mm512_loadu_si512(x)), bfloat16_bits_16(_mm512_loadu_si512(x + 16)));
}
#endif

inline void float_row_to_bfloat16(const float* from, int64_t n, uint16_t* to) {
  int64_t i = 0;
#if defined(__AVX512BW__)
  for (; i + 32 <= n; i += 32) _mm512_storeu_si512(to + i, bfloat16_codes_32(from + i));
#else
#pragma omp simd
  for (int64_t k = 0; k < n; ++k) to[k] = float_to_bfloat16(from[k]);
  i = n;
#endif
  for (; i < n; ++i) to[i] = float_to_bfloat16(from[i]);
}

inline void float16_row_to_float(const uint16_t* from, int64_t n, float* to) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i))));
#elif defined(__ARM_NEON)
  for (; i + 4 <= n; i += 4) vst1q_f32(to + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(from + i))));
#endif
  for (; i < n; ++i) to[i] = float16_to_float(from[i]);
}

inline void float_row_to_float16(const float* from, int64_t n, uint16_t* to) {
  int64_t i = 0;
#if defined(__F16C__)
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__ARM_NEON)
  for (; i + 4 <= n; i += 4) vst1_u16(to + i, vreinterpret_u16_f16(vcvt_f16_f32(vld1q_f32(from + i))));
#endif
  for (; i < n; ++i) to[i] = float_to_float16(from[i]);
}

// Applies one of the functions above to a row. The restrict copies let the loop vectorise without overlap checks.
template <class From, class To, class F>
inline void map_row(const void* from, int64_t n, void* to, F f) {
  const From* __restrict a = static_cast<const From*>(from);
  To* __restrict b = static_cast<To*>(to);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) b[i] = f(a[i]);
}

// n numbers of dtype `type` at `from`, as float32. float64 is not a device format: it gives NaN. (Not inlined, here and
// below: once in a kernel is enough of so many loops, and alone they keep their constants in registers.)
[[gnu::noinline]] inline void load_row(DType type, const void* from, int64_t n, float* to) {
  switch (type) {
    case DType::float32:
      if (n > 0) std::memcpy(to, from, static_cast<size_t>(n) * 4);
      break;
    case DType::bfloat16:
      bfloat16_row_to_float(static_cast<const uint16_t*>(from), n, to);
      break;
    case DType::float16:
      float16_row_to_float(static_cast<const uint16_t*>(from), n, to);
      break;
    case DType::float8_e4m3fn:
      map_row<uint8_t, float>(from, n, to, [](uint8_t c) { return float8_e4m3fn_to_float(c); });
      break;
    case DType::float8_e5m2:
      map_row<uint8_t, float>(from, n, to, [](uint8_t c) { return float8_e5m2_to_float(c); });
      break;
    case DType::float8_e8m0fnu:
      map_row<uint8_t, float>(from, n, to, [](uint8_t c) { return float8_e8m0fnu_to_float(c); });
      break;
    case DType::int32:
      map_row<int32_t, float>(from, n, to, [](int32_t c) { return static_cast<float>(c); });
      break;
    case DType::uint32:
      map_row<uint32_t, float>(from, n, to, [](uint32_t c) { return uint32_to_float(c); });
      break;
    case DType::uint8:
    case DType::boolean:
      map_row<uint8_t, float>(from, n, to, [](uint8_t c) { return static_cast<float>(c); });
      break;
    case DType::float64:
      for (int64_t i = 0; i < n; ++i) to[i] = bits_float(0x7fc00000u);
      break;
  }
}

// The reverse: rounds to `type`. float8 overflows as a plain cast does (NaN or infinity) unless `saturate`.
[[gnu::noinline]] inline void store_row(DType type, const float* from, int64_t n, void* to, bool saturate = false) {
  switch (type) {
    case DType::float32:
      if (n > 0) std::memcpy(to, from, static_cast<size_t>(n) * 4);
      break;
    case DType::bfloat16:
      float_row_to_bfloat16(from, n, static_cast<uint16_t*>(to));
      break;
    case DType::float16:
      float_row_to_float16(from, n, static_cast<uint16_t*>(to));
      break;
    case DType::float8_e4m3fn:
      map_row<float, uint8_t>(from, n, to, [=](float x) { return float_to_float8_e4m3fn(x, saturate); });
      break;
    case DType::float8_e5m2:
      map_row<float, uint8_t>(from, n, to, [=](float x) { return float_to_float8_e5m2(x, saturate); });
      break;
    case DType::float8_e8m0fnu:
      map_row<float, uint8_t>(from, n, to, [](float x) { return float_to_float8_e8m0fnu(x); });
      break;
    case DType::int32:
      map_row<float, int32_t>(from, n, to, [](float x) { return float_to_int32(x); });
      break;
    case DType::uint32:
      map_row<float, uint32_t>(from, n, to, [](float x) { return float_to_uint32(x); });
      break;
    case DType::uint8:
      map_row<float, uint8_t>(from, n, to, [](float x) { return float_to_uint8(x); });
      break;
    case DType::boolean:
      map_row<float, uint8_t>(from, n, to, [](float x) { return static_cast<uint8_t>(x != 0.0f); });
      break;
    case DType::float64:
      break;
  }
}

// Rounds float32 numbers to what `type` can hold and leaves them as float32. In place is fine.
[[gnu::noinline]] inline void round_row(DType type, float* x, int64_t n) {
  switch (type) {
    case DType::bfloat16:
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) x[i] = round_bfloat16(x[i]);
      break;
    case DType::float16:
#if defined(__F16C__)
      for (; n >= 8; n -= 8, x += 8)
        _mm256_storeu_ps(x, _mm256_cvtph_ps(_mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT)));
#elif defined(__ARM_NEON)
      for (; n >= 4; n -= 4, x += 4) vst1q_f32(x, vcvt_f32_f16(vcvt_f16_f32(vld1q_f32(x))));
#endif
      for (int64_t i = 0; i < n; ++i) x[i] = float16_to_float(float_to_float16(x[i]));
      break;
    case DType::float8_e4m3fn:
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) x[i] = float8_e4m3fn_to_float(float_to_float8_e4m3fn(x[i]));
      break;
    case DType::float8_e5m2:
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) x[i] = float8_e5m2_to_float(float_to_float8_e5m2(x[i]));
      break;
    case DType::float8_e8m0fnu:
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) x[i] = float8_e8m0fnu_to_float(float_to_float8_e8m0fnu(x[i]));
      break;
    default:
      break;
  }
}

}  // namespace TE_ISA_NAMESPACE
}  // namespace te
