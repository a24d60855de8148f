// The conversions of formats.h on registers of kSquare numbers.
#pragma once
#include <cstdint>

#include "cpu/simd/formats.h"
#include "cpu/simd/register_transpose.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

typedef float Floats __attribute__((vector_size(kSquare * 4)));
inline Floats as_floats(Words words) { return reinterpret_cast<Floats>(words); }
inline Words as_words(Floats floats) { return reinterpret_cast<Words>(floats); }

// Small<E, M>::decode of formats.h on vectors.
template <int E, int M>
inline Words decode_words(Words code) {
  using Format = Small<E, M>;
  const Words shifted = code << Format::kShift;
  const Words smallest = Words{} + Format::kMinNormal;
  const Words subnormal = as_words(as_floats(shifted + Format::kMinNormal) - as_floats(smallest));
  return code < (1u << M) ? subnormal : shifted + Format::kRebias;
}

template <DType T>
inline Words decode_float8(Words code) {
  const Words magnitude = code & 0x7f, sign = (code & 0x80) << 24;
  if constexpr (T == DType::float8_e4m3fn)
    return (magnitude == 0x7f ? Words{} + 0x7fc00000u : decode_words<4, 3>(magnitude)) | sign;
  else
    return (magnitude >= 0x7c ? ((magnitude & 3) << 21) | 0x7f800000u : decode_words<5, 2>(magnitude)) | sign;
}

// The bfloat16 codes of two vectors of floats as words, `low` in the lower halves.
inline Words pair_up(Words low, Words high) { return (low >> 16) | (high & 0xffff0000u); }

// kSquare successive numbers as the bits of float32.
template <DType T>
inline Words load_floats(const void* from) {
  if constexpr (T == DType::float32) {
    return load_words(from);
  } else if constexpr (T == DType::bfloat16) {
    return load_codes(static_cast<const uint16_t*>(from)) << 16;
  } else if constexpr (T == DType::float16) {
#if defined(__AVX512F__)
    const __m256i codes = _mm256_loadu_si256(static_cast<const __m256i*>(from));
    return reinterpret_cast<Words>(_mm512_maskz_cvtph_ps(0xffff, codes));
#elif defined(__ARM_NEON)
    return vreinterpretq_u32_f32(vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(static_cast<const uint16_t*>(from)))));
#endif
    float row[kSquare];
    float16_row_to_float(static_cast<const uint16_t*>(from), kSquare, row);
    return load_words(row);
  } else {
    return decode_float8<T>(load_codes(static_cast<const uint8_t*>(from)));
  }
}

// 2 kSquare successive numbers as pairs of bfloat16 codes. Only for formats that bfloat16 holds exactly.
template <DType T>
inline Words load_pairs(const void* from) {
  if constexpr (T == DType::bfloat16) {
    return load_words(from);
  } else {
    const Words codes = load_codes(static_cast<const uint16_t*>(from));
    return pair_up(decode_float8<T>(codes & 0xff), decode_float8<T>(codes >> 8));
  }
}

// Calls body.operator()<T>() for the formats a product can have.
template <class Body>
void with_format(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::bfloat16:
      return body.template operator()<DType::bfloat16>();
    case DType::float16:
      return body.template operator()<DType::float16>();
    case DType::float8_e4m3fn:
      return body.template operator()<DType::float8_e4m3fn>();
    case DType::float8_e5m2:
      return body.template operator()<DType::float8_e5m2>();
    default:
      return body.template operator()<DType::float32>();
  }
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
