// Threefry-2x32 with 20 rounds, the counter-based generator behind JAX's keys. Element i of a draw of any shape uses
// the 64-bit counter i (row-major), split into its high and low words, so any part of a draw can be made on its own.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu/simd/vector_width.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline uint32_t rotate_left(uint32_t x, int bits) { return (x << bits) | (x >> (32 - bits)); }

// Words of four vectors. The rounds are one chain of instructions that wait for each other; four chains side by side
// keep the processor busy.
struct Batch {
  static constexpr int kVectors = 4, kWords = kVectors * kLanes;
  typedef uint32_t Vector __attribute__((vector_size(4 * kLanes)));
  Vector part[kVectors];
};

template <class F>
inline __attribute__((always_inline)) Batch map_batch(const F& f) {
  Batch result;
#pragma GCC unroll 4
  for (int i = 0; i < Batch::kVectors; ++i) result.part[i] = f(i);
  return result;
}
inline __attribute__((always_inline)) Batch& operator+=(Batch& x, const Batch& y) {
  return x = map_batch([&](int i) { return x.part[i] + y.part[i]; });
}
inline __attribute__((always_inline)) Batch& operator+=(Batch& x, uint32_t y) {
  return x = map_batch([&](int i) { return x.part[i] + y; });
}
inline __attribute__((always_inline)) Batch operator^(const Batch& x, const Batch& y) {
  return map_batch([&](int i) { return x.part[i] ^ y.part[i]; });
}
inline __attribute__((always_inline)) Batch rotate_left(const Batch& x, int bits) {
  return map_batch([&](int i) { return (x.part[i] << bits) | (x.part[i] >> (32 - bits)); });
}

// Four rounds followed by the injection of the key words a and b (b already holds the number of the group).
#define TE_THREEFRY_GROUP(r0, r1, r2, r3, a, b)                                               \
  x0 += x1, x1 = rotate_left(x1, r0) ^ x0, x0 += x1, x1 = rotate_left(x1, r1) ^ x0, x0 += x1, \
            x1 = rotate_left(x1, r2) ^ x0, x0 += x1, x1 = rotate_left(x1, r3) ^ x0, x0 += (a), x1 += (b)

// (*o0, *o1) = threefry2x32 of the key (k0, k1) and the counter words (c0, c1).
template <class Words>
inline __attribute__((always_inline)) void threefry2x32(uint32_t k0, uint32_t k1, const Words& c0, const Words& c1,
                                                        Words* o0, Words* o1) {
  const uint32_t k2 = k0 ^ k1 ^ 0x1BD11BDAu;
  Words x0 = c0, x1 = c1;
  x0 += k0, x1 += k1;
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

// bits[i] = threefry_bits of the counter words (high, low + i) for a batch.
inline __attribute__((always_inline)) void threefry_batch(uint32_t k0, uint32_t k1, uint32_t high, uint32_t low,
                                                          uint32_t* bits) {
  Batch::Vector place;
  for (int i = 0; i < kLanes; ++i) place[i] = static_cast<uint32_t>(i);
  const Batch c0 = map_batch([&](int) { return Batch::Vector{} + high; });
  const Batch c1 = map_batch([&](int i) { return place + (low + static_cast<uint32_t>(i * kLanes)); });
  Batch b0, b1;
  threefry2x32(k0, k1, c0, c1, &b0, &b1);
  const Batch mixed = b0 ^ b1;
  std::memcpy(bits, &mixed, sizeof mixed);
}

// to[i] = f(threefry_bits(k0, k1, first + i)) for i in [0, n).
template <class T, class F>
inline void threefry_row(uint32_t k0, uint32_t k1, uint64_t first, int64_t n, T* to, const F& f) {
  for_counter_pieces(first, n, [&](int64_t offset, int32_t length, uint32_t high, uint32_t low) {
    for (int32_t i = 0; i < length; i += Batch::kWords) {
      uint32_t bits[Batch::kWords];
      threefry_batch(k0, k1, high, low + static_cast<uint32_t>(i), bits);
      T* piece = to + offset + i;
      if (length - i >= Batch::kWords) {
#pragma omp simd
        for (int k = 0; k < Batch::kWords; ++k) piece[k] = f(bits[k]);
      } else {
        for (int k = 0; k < length - i; ++k) piece[k] = f(bits[k]);
      }
    }
  });
}

// factor[i] = uniform < 1 - rate ? 1 / (1 - rate) : 0 for the counters first + i: what dropout multiplies by.
// A rate of 1 drops everything. (A uniform number is a multiple of 2^-23, so the comparison is one of integers.)
inline void threefry_dropout_row(uint32_t k0, uint32_t k1, uint64_t first, int64_t n, double rate, float* factor) {
  const float keep = static_cast<float>(1.0 - rate);
  const float kept = keep > 0 ? static_cast<float>(1.0 / (1.0 - rate)) : 0.0f;
  const int32_t keep_below = static_cast<int32_t>(std::ceil(keep * 8388608.0f));
  threefry_row(k0, k1, first, n, factor,
               [=](uint32_t x) { return static_cast<int32_t>(x >> 9) < keep_below ? kept : 0.0f; });
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
