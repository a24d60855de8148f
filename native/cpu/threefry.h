// Threefry-2x32 with 20 rounds, the counter-based generator behind JAX's keys. Element i of a draw of any shape uses
// the 64-bit counter i (row-major), split into its high and low words, so any part of a draw can be made on its own.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline uint32_t rotate_left(uint32_t x, int bits) { return (x << bits) | (x >> (32 - bits)); }

// Four rounds followed by the injection of the key words a and b (b already holds the number of the group).
#define TE_THREEFRY_GROUP(r0, r1, r2, r3, a, b)                                               \
  x0 += x1, x1 = rotate_left(x1, r0) ^ x0, x0 += x1, x1 = rotate_left(x1, r1) ^ x0, x0 += x1, \
            x1 = rotate_left(x1, r2) ^ x0, x0 += x1, x1 = rotate_left(x1, r3) ^ x0, x0 += (a), x1 += (b)

// (*o0, *o1) = threefry2x32 of the key (k0, k1) and the counter words (c0, c1).
inline __attribute__((always_inline)) void threefry2x32(uint32_t k0, uint32_t k1, uint32_t c0, uint32_t c1,
                                                        uint32_t* o0, uint32_t* o1) {
  const uint32_t k2 = k0 ^ k1 ^ 0x1BD11BDAu;
  uint32_t x0 = c0 + k0, x1 = c1 + k1;
  TE_THREEFRY_GROUP(13, 15, 26, 6, k1, k2 + 1);
  TE_THREEFRY_GROUP(17, 29, 16, 24, k2, k0 + 2);
  TE_THREEFRY_GROUP(13, 15, 26, 6, k0, k1 + 3);
  TE_THREEFRY_GROUP(17, 29, 16, 24, k1, k2 + 4);
  TE_THREEFRY_GROUP(13, 15, 26, 6, k2, k0 + 5);
  *o0 = x0;
  *o1 = x1;
}

#undef TE_THREEFRY_GROUP

// 32 random bits of counter `counter`: the two output words xored.
inline uint32_t threefry_bits(uint32_t k0, uint32_t k1, uint64_t counter) {
  uint32_t b0, b1;
  threefry2x32(k0, k1, static_cast<uint32_t>(counter >> 32), static_cast<uint32_t>(counter), &b0, &b1);
  return b0 ^ b1;
}

// The float32 in [0, 1) that JAX makes of 32 random bits; always a multiple of 2^-23.
inline float uniform_from_bits(uint32_t bits) {
  const uint32_t code = (bits >> 9) | 0x3F800000u;
  float value;
  std::memcpy(&value, &code, sizeof value);
  return value - 1.0f;
}

// Calls body(offset, length, high, low): pieces of the counters [first, first + n) whose high word is constant and
// whose low words do not wrap. The pieces are short enough for 32-bit loop indices, which vectorise best.
template <class Body>
inline void for_counter_pieces(uint64_t first, int64_t n, const Body& body) {
  constexpr int64_t kPiece = int64_t{1} << 20;
  for (int64_t done = 0; done < n;) {
    const uint64_t counter = first + static_cast<uint64_t>(done);
    const uint32_t high = static_cast<uint32_t>(counter >> 32), low = static_cast<uint32_t>(counter);
    const int64_t until_wrap = (int64_t{1} << 32) - static_cast<int64_t>(low);
    const int64_t length = std::min({n - done, kPiece, until_wrap});
    body(done, static_cast<int32_t>(length), high, low);
    done += length;
  }
}

// to[i] = f(threefry_bits(k0, k1, first + i)) for i in [0, n).
template <class T, class F>
inline void threefry_row(uint32_t k0, uint32_t k1, uint64_t first, int64_t n, T* to, const F& f) {
  for_counter_pieces(first, n, [&](int64_t offset, int32_t length, uint32_t high, uint32_t low) {
    T* piece = to + offset;
#pragma omp simd
    for (int32_t i = 0; i < length; ++i) {
      uint32_t b0, b1;
      threefry2x32(k0, k1, high, low + static_cast<uint32_t>(i), &b0, &b1);
      piece[i] = f(b0 ^ b1);
    }
  });
}

inline void threefry_bits_row(uint32_t k0, uint32_t k1, uint64_t first, int64_t n, uint32_t* bits) {
  threefry_row(k0, k1, first, n, bits, [](uint32_t x) { return x; });
}

// factor[i] = uniform < 1 - rate ? 1 / (1 - rate) : 0 for the counters first + i: what dropout multiplies by.
// A rate of 1 drops everything.
inline void threefry_dropout_row(uint32_t k0, uint32_t k1, uint64_t first, int64_t n, double rate, float* factor) {
  const float keep = static_cast<float>(1.0 - rate);
  const float kept = keep > 0 ? static_cast<float>(1.0 / (1.0 - rate)) : 0.0f;
  threefry_row(k0, k1, first, n, factor, [=](uint32_t x) { return uniform_from_bits(x) < keep ? kept : 0.0f; });
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
