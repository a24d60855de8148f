// Sums along a row that keep all digits and several vector accumulators in flight.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

#include "cpu/simd/vector_width.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

typedef float Lanes __attribute__((vector_size(kLanes * sizeof(float))));

// The number, or the kLanes numbers, that start at p.
template <class V>
inline __attribute__((always_inline)) V lanes_at(const float* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

inline __attribute__((always_inline)) float add_lanes(Lanes v) {
  typedef float Quad __attribute__((vector_size(16)));
  Quad q[kLanes / 4];
  std::memcpy(q, &v, sizeof v);
  Quad sum = q[0];
  for (int i = 1; i < kLanes / 4; ++i) sum += q[i];
  return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

// The largest; NaN is passed over, -inf when there is nothing else.
inline __attribute__((always_inline)) float largest_lane(Lanes v) {
  typedef float Quad __attribute__((vector_size(16)));
  Quad q[kLanes / 4], most = Quad{} - std::numeric_limits<float>::infinity();
  std::memcpy(q, &v, sizeof v);
  for (const Quad& quad : q) most = quad > most ? quad : most;
  const float low = most[0] > most[1] ? most[0] : most[1], high = most[2] > most[3] ? most[2] : most[3];
  return low > high ? low : high;
}

// K sums over the indices [0, n). add(i, s) adds the terms of index i to s[0..K), where s points to float, or the terms
// of i .. i + kLanes - 1 where s points to Lanes. Blocks of 4096 in float32, the blocks in double: the error is about
// one unit in the last place of the sum of magnitudes whatever n is.
//   accumulate<1>(n, &total, [=](int64_t i, auto* s) { s[0] += lanes_at<std::decay_t<decltype(*s)>>(x + i); });
template <int K, class Add>
inline __attribute__((always_inline)) void accumulate(int64_t n, double* totals, Add add) {
  constexpr int64_t kBlock = 4096;
  constexpr int kUnroll = K == 1 ? 4 : 2;
  for (int k = 0; k < K; ++k) totals[k] = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    Lanes s[kUnroll][K] = {};
    int64_t i = begin;
    for (; i + kUnroll * kLanes <= end; i += kUnroll * kLanes) {
#pragma GCC unroll 4
      for (int u = 0; u < kUnroll; ++u) add(i + u * kLanes, s[u]);
    }
    for (; i + kLanes <= end; i += kLanes) add(i, s[0]);
    float rest[K] = {};
    for (; i < end; ++i) add(i, rest);
    for (int k = 0; k < K; ++k) {
      Lanes sum = s[0][k] + s[1][k];
      if constexpr (kUnroll == 4) sum += s[2][k] + s[3][k];
      totals[k] += static_cast<double>(add_lanes(sum)) + static_cast<double>(rest[k]);
    }
  }
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
