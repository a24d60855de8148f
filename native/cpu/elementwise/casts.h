// Row functions of casts: rounding, saturating, clamping, and the codes of a format as they are.
#pragma once
#include <cstdint>
#include <type_traits>

#include "cpu/elementwise/instructions.h"
#include "cpu/simd/convert.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace rows {

template <DType T>
void round_to(const void*, const void*, const void*, void* out, int64_t n) {
  round_row(T, static_cast<float*>(out), n);
}

template <DType T>
void saturating(const void* a, const void*, const void*, void* out, int64_t n) {
  const float* x = static_cast<const float*>(a);
  float* y = static_cast<float*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i)
    y[i] = T == DType::float8_e4m3fn ? float8_e4m3fn_to_float(float_to_float8_e4m3fn(x[i], true))
                                     : float8_e5m2_to_float(float_to_float8_e5m2(x[i], true));
}

inline RowFunction real_to_integer(DType to) {
  switch (to) {
    case DType::int32:
      return &unary<float, int32_t, [](float x) { return float_to_int32(x); }>;
    case DType::uint32:
      return &unary<float, uint32_t, [](float x) { return float_to_uint32(x); }>;
    case DType::uint8:
      return &unary<float, int32_t, [](float x) -> int32_t { return float_to_uint8(x); }>;
    default:
      return &unary<float, int32_t, [](float x) -> int32_t { return x != 0.0f; }>;
  }
}

inline RowFunction to_bool_or_move(DType to) {
  return to == DType::boolean ? &unary<uint32_t, uint32_t, [](uint32_t x) -> uint32_t { return x != 0; }> : &move;
}

// To float32, rounded; or for a narrower target exact but for a sticky 24th bit, so that the rounding that follows is
// the only one.
template <class T>
RowFunction integer_to_real(DType to) {
  if (to == DType::float32) {
    if constexpr (std::is_signed_v<T>)
      return &unary<T, float, [](T x) { return static_cast<float>(x); }>;
    else
      return &unary<T, float, [](T x) { return uint32_to_float(x); }>;
  }
  return &unary<T, float, [](T x) {
    const bool negative = x < 0;
    const uint32_t y = negative ? 0u - static_cast<uint32_t>(x) : static_cast<uint32_t>(x);
    const uint32_t sticky = (y & ~255u) | ((y & 255u) != 0 ? 256u : 0u);
    const float magnitude = uint32_to_float(y >= (1u << 24) ? sticky : y);
    return negative ? -magnitude : magnitude;
  }>;
}

template <uint32_t kMaxBits>
void clamp_row(const void* a, const void*, const void*, void* out, int64_t n) {
  const float* x = static_cast<const float*>(a);
  float* y = static_cast<float*>(out);
  const float top = bits_float(kMaxBits);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float low = x[i] < -top ? -top : x[i];
    y[i] = low > top ? top : low;
  }
}

inline RowFunction clamping(DType to) {
  switch (to) {
    case DType::bfloat16:
      return &clamp_row<0x7f7f0000u>;
    case DType::float16:
      return &clamp_row<0x477fe000u>;
    case DType::float8_e8m0fnu:
      return &clamp_row<0x7f000000u>;
    default:
      return &clamp_row<0x7f7fffffu>;
  }
}

// Rounds float32 rows to what `to` holds; nullptr where there is nothing to round.
inline RowFunction rounding(DType to) {
  switch (to) {
    case DType::bfloat16:
      return &round_to<DType::bfloat16>;
    case DType::float16:
      return &round_to<DType::float16>;
    case DType::float8_e4m3fn:
      return &round_to<DType::float8_e4m3fn>;
    case DType::float8_e5m2:
      return &round_to<DType::float8_e5m2>;
    case DType::float8_e8m0fnu:
      return &round_to<DType::float8_e8m0fnu>;
    default:
      return nullptr;
  }
}

inline uint8_t e4m3(float x) { return float_to_float8_e4m3fn(x); }
inline uint8_t e5m2(float x) { return float_to_float8_e5m2(x); }

template <class Code, Code (*F)(float)>
void to_code(const void* a, const void*, const void*, void* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) static_cast<uint32_t*>(out)[i] = F(static_cast<const float*>(a)[i]);
}
template <class Code, float (*F)(Code)>
void from_code(const void* a, const void*, const void*, void* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i)
    static_cast<float*>(out)[i] = F(static_cast<Code>(static_cast<const uint32_t*>(a)[i]));
}

// The codes that a row of `from` holds; a row of 32-bit numbers is its own code.
inline RowFunction to_codes(DType from) {
  switch (from) {
    case DType::bfloat16:
      return &to_code<uint16_t, float_to_bfloat16>;
    case DType::float16:
      return &to_code<uint16_t, float_to_float16>;
    case DType::float8_e4m3fn:
      return &to_code<uint8_t, e4m3>;
    case DType::float8_e5m2:
      return &to_code<uint8_t, e5m2>;
    case DType::float8_e8m0fnu:
      return &to_code<uint8_t, float_to_float8_e8m0fnu>;
    default:
      return &move;
  }
}

// The reverse; nullptr where the code is the number.
inline RowFunction from_codes(DType to) {
  switch (to) {
    case DType::bfloat16:
      return &from_code<uint16_t, bfloat16_to_float>;
    case DType::float16:
      return &from_code<uint16_t, float16_to_float>;
    case DType::float8_e4m3fn:
      return &from_code<uint8_t, float8_e4m3fn_to_float>;
    case DType::float8_e5m2:
      return &from_code<uint8_t, float8_e5m2_to_float>;
    case DType::float8_e8m0fnu:
      return &from_code<uint8_t, float8_e8m0fnu_to_float>;
    default:
      return nullptr;
  }
}

}  // namespace rows
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
