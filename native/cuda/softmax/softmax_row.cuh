// The largest element of a row and the sum of exp(x - largest): the two parts of log(sum(exp(x))).
#pragma once
#include <cmath>

#include "cuda/primitives.cuh"
#include "cuda/row.cuh"

namespace te::cuda {

// e^x for x <= 0. For results of 16 bits the exponent may be rounded once more.
template <class T>
__device__ inline float weight_exp(float x) {
  if constexpr (sizeof(T) == 2) return exp2_fast(x * 1.44269504f);
  return expf(x);
}

// NaN is passed over by `largest` and comes back in `sum`. An infinite `largest` counts as 0 in `sum`.
struct RowSum {
  float largest, sum;
  __device__ static float base_of(float largest) { return std::isinf(largest) ? 0.0f : largest; }
  __device__ float base() const { return base_of(largest); }
};

// Sums with their largest elements, of two parts of a row.
struct Merge {
  __device__ Floats<2> operator()(const Floats<2>& a, const Floats<2>& b) const {
    const bool first = a.item[0] >= b.item[0];
    const Floats<2>&high = first ? a : b, &low = first ? b : a;
    const float factor = low.item[0] == high.item[0] ? 1.0f : expf(low.item[0] - high.item[0]);
    return {{high.item[0], high.item[1] + low.item[1] * factor}};
  }
};

template <int W>
__device__ inline float largest_of(const float (&v)[W], float largest) {
#pragma unroll
  for (int k = 0; k < W; ++k) largest = fmaxf(largest, v[k]);
  return largest;
}
template <class T, int W>
__device__ inline float exponentials(const float (&v)[W], float base) {
  float sum = 0;
#pragma unroll
  for (int k = 0; k < W; ++k) sum += weight_exp<T>(v[k] - base);
  return sum;
}

// row: absent elements are -infinity. A row that is not held is read once.
template <class T, int N, int W>
__device__ inline RowSum row_sum(const Row<T, N, W>& row, Group& group) {
  constexpr float kLowest = -INFINITY;
  float largest = kLowest, sum = 0;
  if constexpr (N > 0) {
    row.each([&](int, const float(&v)[W]) { largest = largest_of(v, largest); });
    const float base = RowSum::base_of(largest);
    row.each([&](int, const float(&v)[W]) { sum += exponentials<T>(v, base); });
  } else {
    row.each([&](int, const float(&v)[W]) {
      const float higher = largest_of(v, largest);
      if (higher > largest) {
        sum *= weight_exp<float>(largest - higher);
        largest = higher;
      }
      sum += exponentials<T>(v, RowSum::base_of(largest));
    });
  }
  const Floats<2> all = group.fold(Floats<2>{{largest, sum}}, Floats<2>{{kLowest, 0.0f}}, Merge());
  return {all.item[0], all.item[1]};
}

// The rows of a node's first input, of `rows` elements of its result.
inline bool read_rows(const Aval& x, int64_t* rows, int64_t* columns, std::string* why) {
  if (!is_row_type(x.dtype)) return *why = "x is not floating", false;
  *columns = x.shape.back();
  *rows = 1;
  for (size_t i = 0; i + 1 < x.shape.size(); ++i) *rows *= x.shape[i];
  if (!RowPlan::fits(*columns)) return *why = "a row has more than 2^30 elements", false;
  return true;
}

}  // namespace te::cuda
