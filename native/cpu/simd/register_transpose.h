// Squares of 32-bit words in registers and their transposition, the core of everything here that swaps rows and
// columns.
#pragma once
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#include "cpu/simd/stream.h"
#include "cpu/simd/vector_width.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline constexpr int kSquare = kLanes;

typedef uint32_t Words __attribute__((vector_size(kSquare * 4)));

inline Words load_words(const void* from) {
  Words words;
  std::memcpy(&words, from, sizeof words);
  return words;
}

inline void store_words(void* to, Words words) { std::memcpy(to, &words, sizeof words); }

// kSquare codes of 1, 2 or 4 bytes as words. (GCC's own widening of bytes takes a detour through scalars,
// and its plain intrinsics warn about undefined values; the mask is not in the machine code.)
template <class Code>
inline Words load_codes(const Code* from) {
#if defined(__AVX512F__)
  if constexpr (sizeof(Code) == 1)
    return reinterpret_cast<Words>(
        _mm512_maskz_cvtepu8_epi32(0xffff, _mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
  if constexpr (sizeof(Code) == 2)
    return reinterpret_cast<Words>(
        _mm512_maskz_cvtepu16_epi32(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#elif defined(__AVX2__)
  if constexpr (sizeof(Code) == 1)
    return reinterpret_cast<Words>(_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from))));
  if constexpr (sizeof(Code) == 2)
    return reinterpret_cast<Words>(_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#elif defined(__ARM_NEON)
  if constexpr (sizeof(Code) == 1) {
    uint32_t codes;
    std::memcpy(&codes, from, 4);
    return vmovl_u16(vget_low_u16(vmovl_u8(vcreate_u8(codes))));
  }
  if constexpr (sizeof(Code) == 2) return vmovl_u16(vld1_u16(reinterpret_cast<const uint16_t*>(from)));
#endif
  Words words;
  if constexpr (sizeof(Code) == 4)
    words = load_words(from);
  else
    for (int i = 0; i < kSquare; ++i) {
      Code code;
      std::memcpy(&code, reinterpret_cast<const char*>(from) + i * sizeof(Code), sizeof(Code));  // at any address
      words[i] = code;
    }
  return words;
}

// The low halves of kSquare words.
inline void store_halves(void* to, Words words) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(static_cast<__m256i*>(to), _mm512_maskz_cvtepi32_epi16(0xffff, reinterpret_cast<__m512i>(words)));
#elif defined(__ARM_NEON)
  const uint16x4_t halves = vmovn_u32(words);
  std::memcpy(to, &halves, sizeof halves);
#else
  uint16_t halves[kSquare];
  for (int i = 0; i < kSquare; ++i) halves[i] = static_cast<uint16_t>(words[i]);
  std::memcpy(to, halves, sizeof halves);
#endif
}

// Stores that go past the caches, for results too large to be found there later; `to` is aligned to the vector. Lines
// should be completed soon; end with finish_streaming() (stream.h) before another thread looks.
inline void stream_words(void* to, Words words) {
#if defined(__AVX512F__)
  _mm512_stream_si512(static_cast<__m512i*>(to), reinterpret_cast<__m512i>(words));
#elif defined(__AVX2__)
  _mm256_stream_si256(static_cast<__m256i*>(to), reinterpret_cast<__m256i>(words));
#elif defined(__x86_64__)
  _mm_stream_si128(static_cast<__m128i*>(to), reinterpret_cast<__m128i>(words));
#else
  store_words(to, words);
#endif
}

// Word j of the result is word pick(j) of (a, b) laid end to end. The compiler turns each pattern below into one
// instruction.
template <class Pick, int... J>
inline Words shuffle(Words a, Words b, Pick pick, std::integer_sequence<int, J...>) {
  return __builtin_shuffle(a, b, Words{static_cast<uint32_t>(pick(J))...});
}

// Groups of SIZE words of the lower (HALF = 0) or upper halves of a and b in turn, within each quarter of four words.
template <int SIZE, int HALF>
inline Words interleave(Words a, Words b) {
  constexpr auto pick = [](int j) constexpr {
    const int quarter = j / 4, place = j % 4;
    const int group = place / SIZE, word = place % SIZE;
    return (group % 2) * kSquare + quarter * 4 + HALF * 2 + (SIZE == 2 ? 0 : (group / 2)) + word;
  };
  return shuffle(a, b, pick, std::make_integer_sequence<int, kSquare>{});
}

// The even (ODD = 0) or odd quarters of a, then those of b.
template <int ODD>
inline Words quarters(Words a, Words b) {
  constexpr auto pick = [](int j) constexpr { return (2 * (j / 4) + ODD) * 4 + j % 4; };
  return shuffle(a, b, pick, std::make_integer_sequence<int, kSquare>{});
}

// rows[i][j] becomes rows[j][i]: first the squares of four words, then quarters as if they were the elements.
inline void transpose_square(Words (&rows)[kSquare]) {
  Words next[kSquare];
#pragma GCC unroll 8
  for (int i = 0; i < kSquare; i += 2) {
    next[i] = interleave<1, 0>(rows[i], rows[i + 1]);
    next[i + 1] = interleave<1, 1>(rows[i], rows[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < kSquare; i += 4) {
    rows[i] = interleave<2, 0>(next[i], next[i + 2]);
    rows[i + 1] = interleave<2, 1>(next[i], next[i + 2]);
    rows[i + 2] = interleave<2, 0>(next[i + 1], next[i + 3]);
    rows[i + 3] = interleave<2, 1>(next[i + 1], next[i + 3]);
  }
  if constexpr (kSquare == 8) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Words a = rows[i], b = rows[i + 4];
      rows[i] = quarters<0>(a, b);
      rows[i + 4] = quarters<1>(a, b);
    }
  } else if constexpr (kSquare == 16) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      const Words even_top = quarters<0>(rows[i], rows[i + 4]), even_low = quarters<0>(rows[i + 8], rows[i + 12]);
      const Words odd_top = quarters<1>(rows[i], rows[i + 4]), odd_low = quarters<1>(rows[i + 8], rows[i + 12]);
      rows[i] = quarters<0>(even_top, even_low);
      rows[i + 4] = quarters<0>(odd_top, odd_low);
      rows[i + 8] = quarters<1>(even_top, even_low);
      rows[i + 12] = quarters<1>(odd_top, odd_low);
    }
  }
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
