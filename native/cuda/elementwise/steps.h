// The functions of operations.cuh and formats.cuh by the kinds of their operands and result, for tables and switches.
#pragma once

// clang-format off
#define TE_REAL_FROM_REAL(X) \
  X(real_neg) X(real_abs) X(real_sign) X(real_square) X(real_exp) X(real_log) X(real_log1p) X(real_expm1) \
  X(real_sqrt) X(real_rsqrt) X(real_sin) X(real_cos) X(real_tanh) X(real_sigmoid) X(real_erf) X(real_erf_inv) \
  X(real_floor) X(real_ceil) X(real_round) X(round_bfloat16) X(round_float16) X(round_float8_e4m3fn) \
  X(round_float8_e5m2) X(round_float8_e8m0fnu) X(saturate_float8_e4m3fn) X(saturate_float8_e5m2) X(clamp_float32) \
  X(clamp_bfloat16) X(clamp_float16) X(clamp_float8_e8m0fnu)
#define TE_REAL_FROM_REALS(X) \
  X(real_add) X(real_sub) X(real_mul) X(real_div) X(real_rem) X(real_pow) X(real_maximum) X(real_minimum)
#define TE_BITS_FROM_REALS(X) \
  X(real_eq) X(real_ne) X(real_lt) X(real_le) X(real_gt) X(real_ge)
#define TE_BITS_FROM_REAL(X) \
  X(real_to_int32) X(real_to_uint32) X(real_to_uint8) X(real_to_bool) X(real_is_finite) X(code_float32) \
  X(code_bfloat16) X(code_float16) X(code_float8_e4m3fn) X(code_float8_e5m2) X(code_float8_e8m0fnu)
#define TE_REAL_FROM_BITS(X) \
  X(signed_to_real) X(unsigned_to_real) X(signed_to_narrow) X(unsigned_to_narrow) X(value_float32) X(value_bfloat16) \
  X(value_float16) X(value_float8_e4m3fn) X(value_float8_e5m2) X(value_float8_e8m0fnu)
#define TE_BITS_FROM_BITS(X) \
  X(bits_neg) X(bits_square) X(bits_not) X(bits_low_byte) X(bits_low_bit) X(bits_truth) X(bits_flip) X(bits_one) \
  X(signed_abs) X(signed_sign) X(unsigned_sign)
#define TE_BITS_FROM_BOTH(X) \
  X(bits_add) X(bits_sub) X(bits_mul) X(bits_and) X(bits_or) X(bits_xor) X(bits_eq) X(bits_ne) X(bits_shift_left) \
  X(signed_shift_right) X(unsigned_shift_right) X(signed_div) X(unsigned_div) X(signed_rem) X(unsigned_rem) \
  X(signed_pow) X(unsigned_pow) X(signed_maximum) X(unsigned_maximum) X(signed_minimum) X(unsigned_minimum) \
  X(signed_lt) X(signed_le) X(signed_gt) X(signed_ge) X(unsigned_lt) X(unsigned_le) X(unsigned_gt) X(unsigned_ge)
// clang-format on

namespace te::cuda::element {

#define X(name) name##_,
enum class Function : unsigned char {
  TE_REAL_FROM_REAL(X) TE_REAL_FROM_REALS(X) TE_BITS_FROM_REALS(X) TE_BITS_FROM_REAL(X) TE_REAL_FROM_BITS(X)
      TE_BITS_FROM_BITS(X) TE_BITS_FROM_BOTH(X) select_
};
#undef X

}  // namespace te::cuda::element
