// Conversions between float32 and the narrow formats, exact to the bit: round to nearest even, NaN stays NaN, and the
// results do not depend on the instruction set. Every function is branch-free so that loops over it vectorise.
#pragma once
#include <bit>
#include <cstdint>

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {
namespace TE_ISA_NAMESPACE {

inline uint32_t float_bits(float x) { return std::bit_cast<uint32_t>(x); }
inline float bits_float(uint32_t u) { return std::bit_cast<float>(u); }

inline constexpr float kMaxE4M3 = 448.0f;
inline constexpr float kMaxE5M2 = 57344.0f;

// --- bfloat16: the upper half of a float32 ---------------------------------------------------------------------------
inline float bfloat16_to_float(uint16_t code) { return bits_float(static_cast<uint32_t>(code) << 16); }

// The float32 bits of x rounded to bfloat16 precision (the lower half is not cleared).
inline uint32_t bfloat16_bits(float x) {
  const uint32_t u = float_bits(x);
  const uint32_t rounded = u + (0x7fffu + ((u >> 16) & 1u));
  return x != x ? (u & 0x80000000u) | 0x7fc00000u : rounded;
}

inline uint16_t float_to_bfloat16(float x) { return static_cast<uint16_t>(bfloat16_bits(x) >> 16); }

// float_to_bfloat16 and back without leaving 32-bit lanes.
inline float round_bfloat16(float x) { return bits_float(bfloat16_bits(x) & 0xffff0000u); }

// --- formats with a sign, E exponent bits, M mantissa bits and subnormals --------------------------------------------
// Encoding a normal number adds half a unit (ties to even) to the float32 bits and drops the tail. A subnormal result
// is the low bits of |x| + 2^k with k chosen so that the unit in the last place of that sum is the smallest subnormal.
template <int E, int M>
struct Small {
  static constexpr int kBias = (1 << (E - 1)) - 1, kShift = 23 - M;
  static constexpr uint32_t kRebias = static_cast<uint32_t>(127 - kBias) << 23;
  static constexpr uint32_t kMinNormal = static_cast<uint32_t>(127 + 1 - kBias) << 23;
  static constexpr uint32_t kMagic = static_cast<uint32_t>(127 + 1 - kBias - M + 23) << 23;

  // Code of |x| without sign; values beyond the range give codes beyond the last finite one.
  static inline uint32_t encode(uint32_t magnitude) {
    const uint32_t normal =
        ((magnitude + ((1u << (kShift - 1)) - 1u) + ((magnitude >> kShift) & 1u)) - kRebias) >> kShift;
    const uint32_t subnormal = float_bits(bits_float(magnitude) + bits_float(kMagic)) - kMagic;
    return magnitude < kMinNormal ? subnormal : normal;
  }

  // Finite value of a code without its sign, as float32 bits.
  static inline uint32_t decode(uint32_t code) {
    const uint32_t normal = (code << kShift) + kRebias;
    const uint32_t subnormal = float_bits(bits_float((code << kShift) + kMinNormal) - bits_float(kMinNormal));
    return code < (1u << M) ? subnormal : normal;
  }
};

inline float float16_to_float(uint16_t code) {
  const uint32_t magnitude = code & 0x7fffu;
  const uint32_t finite = Small<5, 10>::decode(magnitude);
  const uint32_t special = 0x7f800000u | ((magnitude & 0x3ffu) << 13);
  return bits_float((magnitude >= 0x7c00u ? special : finite) | (static_cast<uint32_t>(code & 0x8000u) << 16));
}

inline uint16_t float_to_float16(float x) {
  const uint32_t u = float_bits(x), magnitude = u & 0x7fffffffu, sign = (u >> 16) & 0x8000u;
  uint32_t code = Small<5, 10>::encode(magnitude);
  code = magnitude >= 0x47800000u || code > 0x7c00u ? 0x7c00u : code;
  code = magnitude > 0x7f800000u ? 0x7e00u | ((magnitude >> 13) & 0x3ffu) : code;
  return static_cast<uint16_t>(code | sign);
}

inline float float8_e4m3fn_to_float(uint8_t code) {
  const uint32_t magnitude = code & 0x7fu;
  const uint32_t bits = magnitude == 0x7fu ? 0x7fc00000u : Small<4, 3>::decode(magnitude);
  return bits_float(bits | (static_cast<uint32_t>(code & 0x80u) << 24));
}

// Overflow gives NaN: the format has no infinity. `saturate` clamps to ±448 first.
inline uint8_t float_to_float8_e4m3fn(float x, bool saturate = false) {
  const uint32_t u = float_bits(x), magnitude = u & 0x7fffffffu, sign = (u >> 24) & 0x80u;
  const uint32_t top = saturate && magnitude <= 0x7f800000u ? 0x7eu : 0x7fu;
  uint32_t code = Small<4, 3>::encode(magnitude);
  code = magnitude >= 0x43f00000u || code > top ? top : code;  // 0x43f00000: 480
  return static_cast<uint8_t>(code | sign);
}

inline float float8_e5m2_to_float(uint8_t code) {
  const uint32_t magnitude = code & 0x7fu;
  const uint32_t special = 0x7f800000u | ((magnitude & 3u) << 21);
  const uint32_t bits = magnitude >= 0x7cu ? special : Small<5, 2>::decode(magnitude);
  return bits_float(bits | (static_cast<uint32_t>(code & 0x80u) << 24));
}

// Overflow gives infinity. `saturate` clamps to ±57344 first.
inline uint8_t float_to_float8_e5m2(float x, bool saturate = false) {
  const uint32_t u = float_bits(x), magnitude = u & 0x7fffffffu, sign = (u >> 24) & 0x80u;
  const uint32_t top = saturate ? 0x7bu : 0x7cu;
  uint32_t code = Small<5, 2>::encode(magnitude);
  code = magnitude >= 0x47800000u || code > top ? top : code;  // 0x47800000: 65536
  code = magnitude > 0x7f800000u ? 0x7eu : code;
  return static_cast<uint8_t>(code | sign);
}

// --- float8_e8m0fnu: 2^(code - 127); 255 is NaN; there is no zero and no sign ----------------------------------------
inline float float8_e8m0fnu_to_float(uint8_t code) {
  const uint32_t normal = static_cast<uint32_t>(code) << 23;
  return bits_float(code == 0 ? 0x00400000u : code == 255 ? 0x7fc00000u : normal);
}

// The nearest power of two, a tie upwards; zero, negative and infinite values give NaN. Between 2^-127 and 2^-126,
// which float32 holds as subnormals, everything goes up, as in ml_dtypes.
inline uint8_t float_to_float8_e8m0fnu(float x) {
  const uint32_t u = float_bits(x);
  const uint32_t code = u < 0x00800000u ? (u > 0x00400000u ? 1u : 0u) : (u + 0x00400000u) >> 23;
  return static_cast<uint8_t>(u == 0 || u >= 0x7f800000u ? 255u : code);
}

// --- integers: truncation towards zero, clamped to the range; NaN gives 0 --------------------------------------------
inline int32_t float_to_int32(float x) {
  const float clamped = x > -2147483648.0f ? (x < 2147483520.0f ? x : 2147483520.0f) : -2147483648.0f;
  const int32_t value = static_cast<int32_t>(clamped);
  const int32_t high = x >= 2147483648.0f ? 2147483647 : value;
  return x == x ? high : 0;
}

inline uint32_t float_to_uint32(float x) {
  // Two halves, because the processor converts signed numbers only.
  const float positive = x > 0.0f ? (x < 4294967040.0f ? x : 4294967040.0f) : 0.0f;
  const bool upper = positive >= 2147483648.0f;
  const uint32_t value = static_cast<uint32_t>(static_cast<int32_t>(upper ? positive - 2147483648.0f : positive));
  return x >= 4294967296.0f ? 0xffffffffu : value + (upper ? 0x80000000u : 0u);
}

inline float uint32_to_float(uint32_t x) {
  // Rounds once: halve with a sticky last bit when the top bit is set.
  const uint32_t halved = (x >> 1) | (x & 1u);
  const bool top = x >= 0x80000000u;
  const float y = static_cast<float>(static_cast<int32_t>(top ? halved : x));
  return top ? y + y : y;
}

inline uint8_t float_to_uint8(float x) {
  const float clamped = x > 0.0f ? (x < 255.0f ? x : 255.0f) : 0.0f;
  return static_cast<uint8_t>(static_cast<int32_t>(clamped));
}

}  // namespace TE_ISA_NAMESPACE
}  // namespace te
