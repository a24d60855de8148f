// One row of a softmax: the largest element and the exponentials below it.
#pragma once
#include <limits>
#include <type_traits>

#include "cpu/lane_math.h"
#include "cpu/rows.h"
#include "cpu/weight_exp.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The largest element, -inf over nothing. NaN is passed over: it comes back out of the exponentials.
// (Not inlined, here and below: in a large function the constants of a loop do not stay in registers.)
[[gnu::noinline]] inline float row_largest(const float* x, int64_t n) {
  Lanes most[4] = {Lanes{} - kInfinity, Lanes{} - kInfinity, Lanes{} - kInfinity, Lanes{} - kInfinity};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) most[u] = larger_of(lanes_at<Lanes>(x + i + u * kLanes), most[u]);
  }
  for (; i + kLanes <= n; i += kLanes) most[0] = larger_of(lanes_at<Lanes>(x + i), most[0]);
  float largest = largest_lane(larger_of(larger_of(most[0], most[1]), larger_of(most[2], most[3])));
  for (; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// Calls visit(i, e^(x[i ...] - base), count) for every vector of the row; the last may hold fewer than kLanes numbers
// and zeros behind them. `kBrief`: see weight_exp_lanes.
template <bool kBrief, class Visit>
inline void for_exponentials(const float* x, int64_t n, float base, const Visit& visit) {
  int64_t i = 0;
#pragma GCC unroll 2
  for (; i + kLanes <= n; i += kLanes) visit(i, weight_exp_lanes<kBrief>(lanes_at<Lanes>(x + i) - base), kLanes);
  if (i == n) return;
  float rest[kLanes];
  std::fill(rest, rest + kLanes, -kInfinity);
  std::memcpy(rest, x + i, static_cast<size_t>(n - i) * sizeof(float));
  visit(i, weight_exp_lanes<kBrief>(lanes_at<Lanes>(rest) - base), n - i);
}

// The same; returns the sum. It runs in float32 over blocks and in double over the blocks, so that long rows lose no
// digits.
template <bool kBrief, class Visit>
inline double sum_exponentials(const float* x, int64_t n, float base, const Visit& visit) {
  constexpr int64_t kBlock = 2048;
  double total = 0;
  for (int64_t first = 0; first < n; first += kBlock) {
    Lanes sum = {};
    for_exponentials<kBrief>(x + first, std::min(n - first, kBlock), base, [&](int64_t i, Lanes e, int64_t count) {
      visit(first + i, e, count);
      sum += e;
    });
    total += static_cast<double>(add_lanes(sum));
  }
  return total;
}

inline void put_some_lanes(float* to, Lanes v, int64_t count) {
  if (count == kLanes)
    put_lanes(to, v);
  else
    std::memcpy(to, &v, static_cast<size_t>(count) * sizeof(float));
}

// y = e^(x - base); returns the sum.
template <bool kBrief>
[[gnu::noinline]] inline double row_exponentials(const float* x, int64_t n, float base, float* y) {
  return sum_exponentials<kBrief>(x, n, base,
                                  [=](int64_t i, Lanes e, int64_t count) { put_some_lanes(y + i, e, count); });
}

// sum(weight * x) / sum(weight); 0 when the weights sum to 0.
inline float row_mean(const float* weight, const float* x, int64_t n) {
  double totals[2];
  accumulate<2>(n, totals, [=](int64_t i, auto* s) {
    using V = std::decay_t<decltype(*s)>;
    const V w = lanes_at<V>(weight + i);
    s[0] += w * lanes_at<V>(x + i);
    s[1] += w;
  });
  return totals[1] == 0 ? 0.0f : static_cast<float>(totals[0] / totals[1]);
}

// log(sum(exp(x))): -inf when every element is, +inf when one is.
[[gnu::noinline]] inline float row_logsumexp(const float* x, int64_t n) {
  const float largest = row_largest(x, n);
  if (std::abs(largest) == kInfinity) {
    float sum = 0;  // of 0, inf and NaN
    for (int64_t i = 0; i < n; ++i) sum += simd_exp(x[i]);
    return std::log(sum);
  }
  const double total = sum_exponentials<false>(x, n, largest, [](int64_t, Lanes, int64_t) {});
  return largest + static_cast<float>(std::log(total));
}

// Rows of the last axis, and the threads' row buffers in scratch.
struct RowShape {
  DType dtype;
  int64_t rows, width, threads = num_threads();

  explicit RowShape(const Aval& x) : dtype(x.dtype), width(x.shape.back()) { rows = width == 0 ? 0 : x.size() / width; }

  int64_t parts() const { return std::min(threads, parts_for_team(rows, width)); }
  size_t buffer_bytes(int64_t buffers) const {
    return static_cast<size_t>(threads * buffers * padded_floats(width)) * sizeof(float);
  }
  float* buffer(const Call& call, int64_t part, int64_t buffers, int64_t index) const {
    return static_cast<float*>(call.scratch) + (part * buffers + index) * padded_floats(width);
  }
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
