// Codes of the narrow formats and their values as float: rounded to nearest even, NaN stays NaN. Needs no other header,
// because it is also part of the sources that are compiled at run time. On a GPU its instructions do the work (the one
// place with assembly beside primitives.cuh); elsewhere, and for constants, the arithmetic below gives the same values.
#pragma once

#if defined(__CUDACC_RTC__)
#define TE_ANYWHERE __device__ inline
#elif defined(__CUDACC__)
#define TE_ANYWHERE __host__ __device__ inline
#else
#define TE_ANYWHERE inline
#endif

namespace te::cuda::element {

TE_ANYWHERE unsigned float_bits(float x) { return __builtin_bit_cast(unsigned, x); }
TE_ANYWHERE float bits_float(unsigned u) { return __builtin_bit_cast(float, u); }

// A format with a sign, E exponent bits, M mantissa bits and subnormals. A normal number is encoded by adding half a
// unit to its bits and dropping the tail; a subnormal result is the low bits of |x| + 2^k, whose last place is the
// unit.
template <int E, int M>
struct Small {
  static constexpr int kBias = (1 << (E - 1)) - 1, kShift = 23 - M;
  static constexpr unsigned kRebias = static_cast<unsigned>(127 - kBias) << 23;
  static constexpr unsigned kMinNormal = static_cast<unsigned>(127 + 1 - kBias) << 23;
  static constexpr unsigned kMagic = static_cast<unsigned>(127 + 1 - kBias - M + 23) << 23;

  // Values beyond the range give codes beyond the last finite one.
  TE_ANYWHERE static unsigned encode(unsigned magnitude) {
    const unsigned half = (1u << (kShift - 1)) - 1u + (magnitude >> kShift & 1u);
    const unsigned subnormal = float_bits(bits_float(magnitude) + bits_float(kMagic)) - kMagic;
    return magnitude < kMinNormal ? subnormal : (magnitude + half - kRebias) >> kShift;
  }
  TE_ANYWHERE static unsigned decode(unsigned code) {
    const unsigned subnormal = float_bits(bits_float((code << kShift) + kMinNormal) - bits_float(kMinNormal));
    return code < (1u << M) ? subnormal : (code << kShift) + kRebias;
  }
};

TE_ANYWHERE float value_bfloat16(unsigned code) { return bits_float(code << 16); }
TE_ANYWHERE unsigned code_bfloat16(float x) {
#if defined(__CUDA_ARCH__)
  unsigned short code;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(code) : "f"(x));
  return code;
#else
  const unsigned u = float_bits(x);
  return (x != x ? (u & 0x80000000u) | 0x7fc00000u : u + 0x7fffu + (u >> 16 & 1u)) >> 16;
#endif
}

TE_ANYWHERE float value_float16(unsigned code) {
#if defined(__CUDA_ARCH__)
  float x;
  asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(static_cast<unsigned short>(code)));
  return x;
#else
  const unsigned magnitude = code & 0x7fffu, special = 0x7f800000u | (magnitude & 0x3ffu) << 13;
  return bits_float((magnitude >= 0x7c00u ? special : Small<5, 10>::decode(magnitude)) | (code & 0x8000u) << 16);
#endif
}
TE_ANYWHERE unsigned code_float16(float x) {
#if defined(__CUDA_ARCH__)
  unsigned short code;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(code) : "f"(x));
  return code;
#else
  const unsigned u = float_bits(x), magnitude = u & 0x7fffffffu;
  unsigned code = Small<5, 10>::encode(magnitude);
  code = magnitude >= 0x47800000u || code > 0x7c00u ? 0x7c00u : code;
  code = magnitude > 0x7f800000u ? 0x7e00u | (magnitude >> 13 & 0x3ffu) : code;
  return code | (u >> 16 & 0x8000u);
#endif
}

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 890
#define TE_FLOAT8_INSTRUCTIONS
#endif

TE_ANYWHERE float value_float8_e4m3fn(unsigned code) {
#if defined(TE_FLOAT8_INSTRUCTIONS)
  unsigned halves;
  asm("cvt.rn.f16x2.e4m3x2 %0, %1;" : "=r"(halves) : "h"(static_cast<unsigned short>(code)));
  return value_float16(halves & 0xffffu);
#else
  const unsigned magnitude = code & 0x7fu;
  return bits_float((magnitude == 0x7fu ? 0x7fc00000u : Small<4, 3>::decode(magnitude)) | (code & 0x80u) << 24);
#endif
}
TE_ANYWHERE float value_float8_e5m2(unsigned code) { return value_float16(code << 8); }  // its upper half

// Beyond the range to ±448.
TE_ANYWHERE unsigned saturating_float8_e4m3fn(float x) {
#if defined(TE_FLOAT8_INSTRUCTIONS)
  unsigned short codes;
  asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(0.0f), "f"(x));
  return codes & 0xffu;
#else
  const unsigned u = float_bits(x), magnitude = u & 0x7fffffffu;
  const unsigned code = Small<4, 3>::encode(magnitude), top = magnitude <= 0x7f800000u ? 0x7eu : 0x7fu;
  return (magnitude >= 0x43f00000u || code > top ? top : code) | (u >> 24 & 0x80u);  // 0x43f00000: 480
#endif
}
// Beyond the range (from 464 on, the tie goes to 448) to NaN.
TE_ANYWHERE unsigned code_float8_e4m3fn(float x) {
  const unsigned u = float_bits(x);
  return (u & 0x7fffffffu) > 0x43e80000u ? 0x7fu | (u >> 24 & 0x80u) : saturating_float8_e4m3fn(x);
}

// Beyond the range to ±57344.
TE_ANYWHERE unsigned saturating_float8_e5m2(float x) {
#if defined(TE_FLOAT8_INSTRUCTIONS)
  unsigned short codes;
  asm("cvt.rn.satfinite.e5m2x2.f32 %0, %1, %2;" : "=h"(codes) : "f"(0.0f), "f"(x));
  return codes & 0xffu;
#else
  const unsigned u = float_bits(x), magnitude = u & 0x7fffffffu;
  unsigned code = Small<5, 2>::encode(magnitude);
  code = magnitude >= 0x47800000u || code > 0x7bu ? 0x7bu : code;  // 0x47800000: 65536
  return (magnitude > 0x7f800000u ? 0x7eu : code) | (u >> 24 & 0x80u);
#endif
}
// Beyond the range (from 61440 on, where the tie goes up) to infinity.
TE_ANYWHERE unsigned code_float8_e5m2(float x) {
  const unsigned u = float_bits(x), magnitude = u & 0x7fffffffu;
  const bool beyond = magnitude >= 0x47700000u && magnitude <= 0x7f800000u;
  return beyond ? 0x7cu | (u >> 24 & 0x80u) : saturating_float8_e5m2(x);
}

// 2^(code - 127); 255 is NaN; there is no zero and no sign.
TE_ANYWHERE float value_float8_e8m0fnu(unsigned code) {
  return bits_float(code == 0 ? 0x00400000u : code == 255u ? 0x7fc00000u : code << 23);
}
// The nearest power of two, a tie upwards; what is not positive and finite gives NaN. Subnormals above 2^-127 go up.
TE_ANYWHERE unsigned code_float8_e8m0fnu(float x) {
  const unsigned u = float_bits(x);
  const unsigned code = u < 0x00800000u ? (u > 0x00400000u ? 1u : 0u) : (u + 0x00400000u) >> 23;
  return u == 0 || u >= 0x7f800000u ? 255u : code;
}

}  // namespace te::cuda::element
