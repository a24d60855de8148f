// One row of a softmax: the largest element and the exponentials below it.
#pragma once
#include <limits>
#include <type_traits>

#include "cpu/rows.h"
#include "cpu/simd/lane_pairs.h"
#include "cpu/simd/weight_exp.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The largest element, -inf over nothing. NaN is passed over: it comes back out of the exponentials. The first look at
// a row, so it reads ahead. (Not inlined, here and below: in a large function the constants of a loop do not stay in
// registers.)
template <DType T>
[[gnu::noinline]] inline float row_largest(const Stored<T>* x, int64_t n) {
  const Lanes lowest = Lanes{} - kInfinity;
  Lanes most[4] = {lowest, lowest, lowest, lowest};
  const auto take = [&](int64_t i, auto count, Lanes* two) {
    read_ahead_of_pair(x + i);
    const LanePair pair = load_pair<T>(x + i, count, kMinusInfinity<T>);
    two[0] = larger_of(pair.first, two[0]);
    two[1] = larger_of(pair.second, two[1]);
  };
  int64_t i = 0;
  for (; i + 2 * kPair <= n; i += 2 * kPair) {
    take(i, WholePair(), most);
    take(i + kPair, WholePair(), most + 2);
  }
  for_pairs(n - i, [&](int64_t k, auto count) { take(i + k, count, most); });
  return largest_lane(larger_of(larger_of(most[0], most[1]), larger_of(most[2], most[3])));
}

// e^(x - base) for a step of a row. E: see weight_exp_lanes.
template <DType T, DType E, class Count>
inline __attribute__((always_inline)) LanePair exponential_pair(const Stored<T>* x, Count count, float base) {
  const LanePair pair = load_pair<T>(x, count, kMinusInfinity<T>);
  return map_pair(pair, [=](Lanes v) { return weight_exp_lanes<E>(v - base); });
}

// Calls visit(i, e^(x[i ...] - base), count) for every step of the row; returns the sum. (Nothing points to the sum of
// a block: a store of visit's could change it otherwise, and it would not stay in registers.)
template <DType T, DType E, class Visit>
inline __attribute__((always_inline)) double sum_exponentials(const Stored<T>* x, int64_t n, float base,
                                                              const Visit& visit) {
  constexpr int64_t kBlock = 4096;  // as accumulate_pairs
  double total = 0;
  for (int64_t i = 0; i < n;) {
    const int64_t end = std::min(n, i + kBlock);
    LanePair sum = {};
    for (; i + kPair <= end; i += kPair) {
      const LanePair e = exponential_pair<T, E>(x + i, WholePair(), base);
      visit(i, e, WholePair());
      sum += e;
    }
    if (i < end) {
      const LanePair e = exponential_pair<T, E>(x + i, end - i, base);
      visit(i, e, end - i);
      sum += e;
      i = end;
    }
    total += static_cast<double>(add_lanes(sum.first + sum.second));
  }
  return total;
}

// y = e^(x - base) in the order of pairs; returns the sum. ahead: see write_ahead, here and below.
template <DType T>
[[gnu::noinline]] inline double row_exponentials(const Stored<T>* x, int64_t n, float base, float* y, int64_t ahead) {
  return sum_exponentials<T, T>(x, n, base, [=](int64_t i, LanePair e, auto count) {
    write_ahead_of_pair(y + i, ahead);
    store_ordered<T>(y + i, e, count);
  });
}

// to = x * factor, where x is in the order of pairs.
template <DType T>
[[gnu::noinline]] inline void scale_row(const float* x, int64_t n, float factor, Stored<T>* to, int64_t ahead) {
  for_pairs(n, [=](int64_t i, auto count) {
    write_ahead_of_pair(to + i, ahead);
    const LanePair pair = load_ordered<T>(x + i, count);
    store_pair<T>(to + i, map_pair(pair, [=](Lanes v) { return v * factor; }), count);
  });
}

// sum(weight * x) / sum(weight); 0 when the weights sum to 0.
template <DType T>
[[gnu::noinline]] inline float row_mean(const Stored<T>* weight, const Stored<T>* x, int64_t n) {
  double totals[2];
  accumulate_pairs<2>(n, totals, [=](int64_t i, auto count, LanePair* sums) {
    read_ahead_of_pair(weight + i);
    read_ahead_of_pair(x + i);
    const LanePair w = load_pair<T>(weight + i, count);
    sums[0] += w * load_pair<T>(x + i, count);
    sums[1] += w;
  });
  return totals[1] == 0 ? 0.0f : static_cast<float>(totals[0] / totals[1]);
}

// dx = y * (dy - mean).
template <DType T>
[[gnu::noinline]] inline void weighted_deviations(const Stored<T>* y, const Stored<T>* dy, int64_t n, float mean,
                                                  Stored<T>* dx, int64_t ahead) {
  for_pairs(n, [=](int64_t i, auto count) {
    write_ahead_of_pair(dx + i, ahead);
    const LanePair deviation = map_pair(load_pair<T>(dy + i, count), [=](Lanes v) { return v - mean; });
    store_pair<T>(dx + i, load_pair<T>(y + i, count) * deviation, count);
  });
}

// The largest element and the sum of exp(x - base()): with log(sum), the two parts of log(sum(exp(x))).
struct RowSum {
  float largest;
  double sum;
  float base() const { return std::abs(largest) == kInfinity ? 0.0f : largest; }
};

template <DType T>
[[gnu::noinline]] inline RowSum row_sum(const Stored<T>* x, int64_t n) {
  const float largest = row_largest<T>(x, n);
  if (std::abs(largest) == kInfinity) {
    float sum = 0;  // of 0, inf and NaN
    for (int64_t i = 0; i < n; ++i) sum += simd_exp(number_at<T>(x + i));
    return {largest, sum};
  }
  return {largest, sum_exponentials<T, DType::float32>(x, n, largest, [](int64_t, LanePair, auto) {})};
}

// Rows of the last axis, and the threads' row buffers in scratch.
struct RowShape {
  DType dtype;
  int64_t rows, width, threads = num_threads();

  explicit RowShape(const Aval& x) : dtype(x.dtype), width(x.shape.back()) { rows = width == 0 ? 0 : x.size() / width; }

  int64_t parts() const { return parts_for_team(rows, width); }
  size_t buffer_bytes(int64_t buffers) const {
    return static_cast<size_t>(threads * buffers * padded_floats(width)) * sizeof(float);
  }
  float* buffer(const Call& call, int64_t buffers, int64_t index) const {
    return static_cast<float*>(call.scratch) + (worker() * buffers + index) * padded_floats(width);
  }
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
