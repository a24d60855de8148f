// One row of a softmax: the largest element and the exponentials below it.
#pragma once
#include <limits>

#include "cpu/rows.h"
#include "cpu/weight_exp.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// The largest element, -inf over nothing. NaN is passed over: it comes back out of the exponentials.
inline float row_largest(const float* x, int64_t n) {
  float largest = -std::numeric_limits<float>::infinity();
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

// Sums run in float32 over blocks and in double over the blocks, so that long rows lose no digits.
inline constexpr int64_t kSumBlock = 1024;

// y = exp(x - base), where base is the largest of x; returns the sum of y.
inline double row_exponentials(const float* x, int64_t n, float base, float* y) {
  double total = 0;
  for (int64_t first = 0; first < n; first += kSumBlock) {
    const int64_t last = std::min(n, first + kSumBlock);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = first; i < last; ++i) {
      const float e = weight_exp(x[i] - base);
      y[i] = e;
      sum += e;
    }
    total += static_cast<double>(sum);
  }
  return total;
}

// sum(weight * x) / sum(weight); 0 when the weights sum to 0.
inline float row_mean(const float* weight, const float* x, int64_t n) {
  double total = 0, weights = 0;
  for (int64_t first = 0; first < n; first += kSumBlock) {
    const int64_t last = std::min(n, first + kSumBlock);
    float sum = 0, plain = 0;
#pragma omp simd reduction(+ : sum, plain)
    for (int64_t i = first; i < last; ++i) {
      sum += weight[i] * x[i];
      plain += weight[i];
    }
    total += static_cast<double>(sum);
    weights += static_cast<double>(plain);
  }
  return weights == 0 ? 0.0f : static_cast<float>(total / weights);
}

// log(sum(exp(x))): -inf when every element is, +inf when one is.
inline float row_logsumexp(const float* x, int64_t n) {
  const float largest = row_largest(x, n);
  if (std::abs(largest) == std::numeric_limits<float>::infinity()) {
    float sum = 0;  // of 0, inf and NaN
    for (int64_t i = 0; i < n; ++i) sum += simd_exp(x[i]);
    return std::log(sum);
  }
  double total = 0;
  for (int64_t first = 0; first < n; first += kSumBlock) {
    const int64_t last = std::min(n, first + kSumBlock);
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = first; i < last; ++i) sum += weight_exp(x[i] - largest);
    total += static_cast<double>(sum);
  }
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
