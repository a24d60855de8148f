// The steps of fused elementwise code: functions of one element, whose names the interpreter and the sources that are
// compiled at run time share. A value is a float (every float format, rounded to its dtype) or 32 bits (int32, uint32,
// uint8 and bool). Each function rounds by itself: nothing is contracted across steps.
#pragma once
#ifndef __CUDACC_RTC__
#include "cuda/elementwise/formats.cuh"
#endif

#define TE_STEP __device__ inline

namespace te::cuda::element {

TE_STEP float infinity() { return bits_float(0x7f800000u); }

// --- float → float
TE_STEP float real_neg(float x) { return -x; }
TE_STEP float real_abs(float x) { return fabsf(x); }
TE_STEP float real_sign(float x) { return x > 0.0f ? 1.0f : x < 0.0f ? -1.0f : x; }
TE_STEP float real_square(float x) { return __fmul_rn(x, x); }
TE_STEP float real_exp(float x) { return expf(x); }
TE_STEP float real_log(float x) { return logf(x); }
TE_STEP float real_log1p(float x) { return log1pf(x); }
TE_STEP float real_expm1(float x) { return expm1f(x); }
TE_STEP float real_sqrt(float x) { return __fsqrt_rn(x); }
TE_STEP float real_rsqrt(float x) { return __fdiv_rn(1.0f, __fsqrt_rn(x)); }
TE_STEP float real_sin(float x) { return sinf(x); }
TE_STEP float real_cos(float x) { return cosf(x); }
TE_STEP float real_tanh(float x) { return tanhf(x); }
TE_STEP float real_sigmoid(float x) { return __fdiv_rn(1.0f, __fadd_rn(1.0f, expf(-x))); }
TE_STEP float real_erf(float x) { return erff(x); }
TE_STEP float real_floor(float x) { return floorf(x); }
TE_STEP float real_ceil(float x) { return ceilf(x); }
TE_STEP float real_round(float x) { return rintf(x); }

// Polynomials by fused multiply-adds.
template <class... Rest>
TE_STEP float horner(float x, float first, Rest... rest) {
  float y = first;
  ((y = __fmaf_rn(y, x, rest)), ...);
  return y;
}
// log(x) of a positive normal number: Cephes' polynomial in three interleaved cubics, with the bits of XLA on a CPU.
TE_STEP float xla_log(float x) {
  const unsigned shifted = float_bits(x) - 0x3f3504f3u;
  const float e = static_cast<float>(static_cast<int>(shifted) >> 23);
  const float m = __fadd_rn(bits_float((shifted & 0x007fffffu) + 0x3f3504f3u), -1.0f);
  const float square = __fmul_rn(m, m), cube = __fmul_rn(square, m);
  float y = horner(m, 7.0376836292e-2f, -1.151461031e-1f, 1.167699874e-1f);
  y = __fmaf_rn(y, cube, horner(m, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f));
  y = __fmaf_rn(y, cube, horner(m, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f));
  y = __fmaf_rn(y, cube, __fmul_rn(-2.1219444e-4f, e));
  return __fmaf_rn(0.693359375f, e, __fadd_rn(__fmaf_rn(-0.5f, square, m), y));
}
// log(1 + x) for -1 < x <= 0.
TE_STEP float xla_log1p(float x) {
  if (!(fabsf(x) < 0.414213568f)) return xla_log(__fadd_rn(1.0f, x));
  const float square = __fmul_rn(x, x);
  const float p = horner(x, 4.52700008624452e-5f, 0.49854102823193375f, 6.578732594206104f, 29.911919328553072f,
                         60.94966798098779f, 57.11296359058554f, 20.039553499201283f);
  const float q = horner(x, 1.0f, 15.062909083469192f, 83.04756596796722f, 221.76239823732857f, 309.09872225312057f,
                         216.42788614495947f, 60.11866049760384f);
  return __fadd_rn(x, __fmaf_rn(-0.5f, square, __fmul_rn(__fmul_rn(x, square), __fdiv_rn(p, q))));
}
// M. Giles, "Approximating the erfinv function", with the bits of XLA on a CPU, of which JAX makes its random normals.
TE_STEP float real_erf_inv(float x) {
  if (!(fabsf(x) < 1.0f)) return fabsf(x) == 1.0f ? x * infinity() : bits_float(0x7fc00000u);
  if (x == 0.0f) return x;
  const float w = -xla_log1p(__fmaf_rn(-x, x, -0.0f));
  if (w < 5.0f)
    return __fmul_rn(horner(__fadd_rn(w, -2.5f), 2.81022636e-08f, 3.43273939e-07f, -3.5233877e-06f, -4.39150654e-06f,
                            0.00021858087f, -0.00125372503f, -0.00417768164f, 0.246640727f, 1.50140941f),
                     x);
  return __fmul_rn(horner(__fadd_rn(__fsqrt_rn(w), -3.0f), -0.000200214257f, 0.000100950558f, 0.00134934322f,
                          -0.00367342844f, 0.00573950773f, -0.0076224613f, 0.00943887047f, 1.00167406f, 2.83297682f),
                   x);
}

TE_STEP float round_bfloat16(float x) { return value_bfloat16(code_bfloat16(x)); }
TE_STEP float round_float16(float x) { return value_float16(code_float16(x)); }
TE_STEP float round_float8_e4m3fn(float x) { return value_float8_e4m3fn(code_float8_e4m3fn(x)); }
TE_STEP float round_float8_e5m2(float x) { return value_float8_e5m2(code_float8_e5m2(x)); }
TE_STEP float round_float8_e8m0fnu(float x) { return value_float8_e8m0fnu(code_float8_e8m0fnu(x)); }
TE_STEP float saturate_float8_e4m3fn(float x) { return value_float8_e4m3fn(saturating_float8_e4m3fn(x)); }
TE_STEP float saturate_float8_e5m2(float x) { return value_float8_e5m2(saturating_float8_e5m2(x)); }
TE_STEP float clamp_to(float x, float top) { return x < -top ? -top : x > top ? top : x; }
TE_STEP float clamp_float32(float x) { return clamp_to(x, bits_float(0x7f7fffffu)); }
TE_STEP float clamp_bfloat16(float x) { return clamp_to(x, bits_float(0x7f7f0000u)); }
TE_STEP float clamp_float16(float x) { return clamp_to(x, bits_float(0x477fe000u)); }
TE_STEP float clamp_float8_e8m0fnu(float x) { return clamp_to(x, bits_float(0x7f000000u)); }

// --- float, float → float
TE_STEP float real_add(float a, float b) { return __fadd_rn(a, b); }
TE_STEP float real_sub(float a, float b) { return __fadd_rn(a, -b); }
TE_STEP float real_mul(float a, float b) { return __fmul_rn(a, b); }
TE_STEP float real_div(float a, float b) { return __fdiv_rn(a, b); }
TE_STEP float real_rem(float a, float b) { return fmodf(a, b); }
TE_STEP float real_pow(float a, float b) { return powf(a, b); }
// 0, not -0, whatever the order.
TE_STEP float real_maximum(float a, float b) { return __fadd_rn(a > b || a != a ? a : b, 0.0f); }
TE_STEP float real_minimum(float a, float b) { return __fadd_rn(a < b || a != a ? a : b, 0.0f); }

// --- float, float → bool
TE_STEP unsigned real_eq(float a, float b) { return a == b; }
TE_STEP unsigned real_ne(float a, float b) { return a != b; }
TE_STEP unsigned real_lt(float a, float b) { return a < b; }
TE_STEP unsigned real_le(float a, float b) { return a <= b; }
TE_STEP unsigned real_gt(float a, float b) { return a > b; }
TE_STEP unsigned real_ge(float a, float b) { return a >= b; }

// --- float → bits: towards zero, clamped, NaN to 0
TE_STEP unsigned real_to_int32(float x) {
  if (!(x >= -2147483648.0f)) return x != x ? 0u : 0x80000000u;
  return x >= 2147483648.0f ? 0x7fffffffu : static_cast<unsigned>(static_cast<int>(x));
}
TE_STEP unsigned real_to_uint32(float x) {
  return !(x > 0.0f) ? 0u : x >= 4294967296.0f ? ~0u : static_cast<unsigned>(x);
}
TE_STEP unsigned real_to_uint8(float x) { return !(x > 0.0f) ? 0u : x >= 255.0f ? 255u : static_cast<unsigned>(x); }
TE_STEP unsigned real_to_bool(float x) { return x != 0.0f; }
TE_STEP unsigned real_is_finite(float x) { return fabsf(x) < infinity(); }
TE_STEP unsigned code_float32(float x) { return float_bits(x); }

// --- bits → float. For a narrower format exact but for a sticky 24th bit, so that the rounding that follows is the
// only one.
TE_STEP float signed_to_real(unsigned x) { return static_cast<float>(static_cast<int>(x)); }
TE_STEP float unsigned_to_real(unsigned x) { return static_cast<float>(x); }
TE_STEP float unsigned_to_narrow(unsigned x) {
  return static_cast<float>(x >= (1u << 24) ? (x & ~255u) | ((x & 255u) != 0 ? 256u : 0u) : x);
}
TE_STEP float signed_to_narrow(unsigned x) {
  return static_cast<int>(x) < 0 ? -unsigned_to_narrow(0u - x) : unsigned_to_narrow(x);
}
TE_STEP float value_float32(unsigned x) { return bits_float(x); }

// --- bits → bits
TE_STEP unsigned bits_neg(unsigned a) { return 0u - a; }
TE_STEP unsigned bits_square(unsigned a) { return a * a; }
TE_STEP unsigned bits_not(unsigned a) { return ~a; }
TE_STEP unsigned bits_low_byte(unsigned a) { return a & 255u; }
TE_STEP unsigned bits_low_bit(unsigned a) { return a & 1u; }
TE_STEP unsigned bits_truth(unsigned a) { return a != 0u; }
TE_STEP unsigned bits_flip(unsigned a) { return a ^ 1u; }
TE_STEP unsigned bits_one(unsigned) { return 1u; }
TE_STEP unsigned signed_abs(unsigned a) { return static_cast<int>(a) < 0 ? 0u - a : a; }
TE_STEP unsigned signed_sign(unsigned a) {
  return static_cast<unsigned>((static_cast<int>(a) > 0) - (static_cast<int>(a) < 0));
}
TE_STEP unsigned unsigned_sign(unsigned a) { return a != 0u; }

// --- bits, bits → bits. Arithmetic wraps around; the undefined cases of C++ have XLA's results.
TE_STEP unsigned bits_add(unsigned a, unsigned b) { return a + b; }
TE_STEP unsigned bits_sub(unsigned a, unsigned b) { return a - b; }
TE_STEP unsigned bits_mul(unsigned a, unsigned b) { return a * b; }
TE_STEP unsigned bits_and(unsigned a, unsigned b) { return a & b; }
TE_STEP unsigned bits_or(unsigned a, unsigned b) { return a | b; }
TE_STEP unsigned bits_xor(unsigned a, unsigned b) { return a ^ b; }
TE_STEP unsigned bits_eq(unsigned a, unsigned b) { return a == b; }
TE_STEP unsigned bits_ne(unsigned a, unsigned b) { return a != b; }
TE_STEP unsigned bits_shift_left(unsigned a, unsigned b) { return b < 32u ? a << b : 0u; }
TE_STEP unsigned signed_shift_right(unsigned a, unsigned b) {
  return static_cast<unsigned>(static_cast<int>(a) >> (b < 32u ? b : 31u));
}
TE_STEP unsigned unsigned_shift_right(unsigned a, unsigned b) { return b < 32u ? a >> b : 0u; }
TE_STEP unsigned signed_div(unsigned a, unsigned b) {
  if (b == 0u || b == ~0u) return b == 0u ? ~0u : 0u - a;
  return static_cast<unsigned>(static_cast<int>(a) / static_cast<int>(b));
}
TE_STEP unsigned unsigned_div(unsigned a, unsigned b) { return b == 0u ? ~0u : a / b; }
TE_STEP unsigned signed_rem(unsigned a, unsigned b) {
  if (b == 0u || b == ~0u) return b == 0u ? a : 0u;
  return static_cast<unsigned>(static_cast<int>(a) % static_cast<int>(b));
}
TE_STEP unsigned unsigned_rem(unsigned a, unsigned b) { return b == 0u ? a : a % b; }
TE_STEP unsigned unsigned_pow(unsigned base, unsigned exponent) {
  unsigned result = 1u;
  for (; exponent != 0u; exponent >>= 1, base *= base)
    if (exponent & 1u) result *= base;
  return result;
}
TE_STEP unsigned signed_pow(unsigned base, unsigned exponent) {
  if (static_cast<int>(exponent) >= 0) return unsigned_pow(base, exponent);
  return base == 1u ? 1u : base == ~0u ? (exponent & 1u ? ~0u : 1u) : 0u;
}
TE_STEP unsigned signed_maximum(unsigned a, unsigned b) { return static_cast<int>(a) > static_cast<int>(b) ? a : b; }
TE_STEP unsigned signed_minimum(unsigned a, unsigned b) { return static_cast<int>(a) < static_cast<int>(b) ? a : b; }
TE_STEP unsigned unsigned_maximum(unsigned a, unsigned b) { return a > b ? a : b; }
TE_STEP unsigned unsigned_minimum(unsigned a, unsigned b) { return a < b ? a : b; }
TE_STEP unsigned signed_lt(unsigned a, unsigned b) { return static_cast<int>(a) < static_cast<int>(b); }
TE_STEP unsigned signed_le(unsigned a, unsigned b) { return static_cast<int>(a) <= static_cast<int>(b); }
TE_STEP unsigned signed_gt(unsigned a, unsigned b) { return static_cast<int>(a) > static_cast<int>(b); }
TE_STEP unsigned signed_ge(unsigned a, unsigned b) { return static_cast<int>(a) >= static_cast<int>(b); }
TE_STEP unsigned unsigned_lt(unsigned a, unsigned b) { return a < b; }
TE_STEP unsigned unsigned_le(unsigned a, unsigned b) { return a <= b; }
TE_STEP unsigned unsigned_gt(unsigned a, unsigned b) { return a > b; }
TE_STEP unsigned unsigned_ge(unsigned a, unsigned b) { return a >= b; }

}  // namespace te::cuda::element
