// Float8 codes of float32 numbers, two vectors at a time: rounded to nearest even, clipped to the largest finite one.
//
// Near a magnitude x, a format with M bits of mantissa holds the multiples of 2^(E - M), where E is the exponent of x,
// or that of the smallest normal number if x is smaller. Rounded once to float32, the sum
//   2^E (2^(23 - M) + b 2^-M) + x
// has the exponent E + 23 - M and ends in b + x / 2^(E - M), a whole number. A code counts those multiples, and 2^M for
// each exponent: it is the lower half of the word plus the upper one shifted, where b makes up for all biases.
#pragma once
#include "cpu/simd/word_formats.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

typedef uint16_t Halves __attribute__((vector_size(kSquare * 4)));

// The lower (UPPER = 0) or upper halves of the words of a and b: of each in turn, or those of b after those of a.
template <bool kInTurn, int UPPER, int... J>
inline __attribute__((always_inline)) Halves halves_of(Words a, Words b, std::integer_sequence<int, J...>) {
  constexpr int kHalves = 2 * kSquare;
  return __builtin_shuffle(reinterpret_cast<Halves>(a), reinterpret_cast<Halves>(b),
                           Halves{static_cast<uint16_t>((kInTurn ? J % 2 * kHalves + J / 2 * 2 : 2 * J) + UPPER)...});
}

template <bool kInTurn, int UPPER>
inline __attribute__((always_inline)) Halves halves_of(Words a, Words b) {
  return halves_of<kInTurn, UPPER>(a, b, std::make_integer_sequence<int, 2 * kSquare>{});
}

inline __attribute__((always_inline)) Halves smaller_halves(Halves x, uint16_t limit) {
  const Halves bound = Halves{} + limit;
#if defined(__AVX512BW__)  // the compiler makes two instructions of it
  return reinterpret_cast<Halves>(
      _mm512_maskz_min_epu16(0xffffffff, reinterpret_cast<__m512i>(x), reinterpret_cast<__m512i>(bound)));
#else
  return x < bound ? x : bound;
#endif
}

template <DType Q>
struct Float8Codes {
  static constexpr int kMantissa = Q == DType::float8_e4m3fn ? 3 : 2;
  using Format = Small<7 - kMantissa, kMantissa>;
  static constexpr uint16_t kLargest = Q == DType::float8_e4m3fn ? 0x7e : 0x7b;
  static constexpr int kBias = 0x10000 - (((Format::kMinNormal >> 23) + Format::kShift) << kMantissa);
  static constexpr float kPower = (1 << Format::kShift) + static_cast<float>(kBias) / (1 << kMantissa);

  // The sum above for magnitudes below 2^100.
  static inline __attribute__((always_inline)) Words rounded(Words magnitude) {
    const Words field = magnitude & 0x7f800000u, smallest = Words{} + Format::kMinNormal;
    const Words exponent = field > smallest ? field : smallest;
    return as_words(as_floats(exponent) * kPower + as_floats(magnitude));
  }

  // The codes of magnitudes a and b with the signs of x and y, as halves in the order of halves_of.
  template <bool kInTurn>
  static inline __attribute__((always_inline)) Halves of(Words a, Words b, Words x, Words y) {
    const Words first = rounded(a), second = rounded(b);
    const Halves codes =
        halves_of<kInTurn, 0>(first, second) + (halves_of<kInTurn, 1>(first, second) >> (7 - kMantissa));
    return smaller_halves(codes, kLargest) | ((halves_of<kInTurn, 1>(x, y) >> 8) & uint16_t{0x80});
  }
};

// The low bytes of 2 kSquare halves.
inline __attribute__((always_inline)) void store_low_bytes(uint8_t* to, Halves halves) {
  typedef uint8_t Bytes __attribute__((vector_size(kSquare * 2)));
  const Bytes bytes = __builtin_convertvector(halves, Bytes);
  std::memcpy(to, &bytes, sizeof bytes);
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
