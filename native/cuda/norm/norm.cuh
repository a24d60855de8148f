// LayerNorm and RMSNorm over the last axis, in float32.
//   layer: y = (x - mean) rstd gamma' + beta,  rstd = 1 / sqrt(mean((x - mean)²) + epsilon)
//   rms:   y = x rstd gamma',                  rstd = 1 / sqrt(mean(x²) + epsilon)
// gamma' is gamma, or 1 + gamma when zero-centred.
#pragma once
#include <string>

#include "cuda/registration.h"
#include "cuda/row.cuh"

namespace te::cuda {

// What is common to all rows.
struct Norm {
  AnyRow gamma, beta;
  float gamma_offset = 0, epsilon = 0;
};

// A row is x - mean - rest: `mean` is the float32 that is stored, `rest` is what its rounding lost, so that rows with a
// mean much larger than their deviation keep all their digits.
struct RowStatistics {
  float mean, rest, rstd;
};

template <bool kLayer, class T, int N, int W>
__device__ inline RowStatistics row_statistics(const Row<T, N, W>& row, const Place<W>& place, Group& group,
                                               int columns, float epsilon) {
  const float share = 1.0f / static_cast<float>(columns);
  RowStatistics s{};
  if constexpr (kLayer) {
    Floats<1> total{};
    row.each([&](int, const float(&v)[W]) {
#pragma unroll
      for (int k = 0; k < W; ++k) total.item[0] += v[k];
    });
    s.mean = group.sum(total).item[0] * share;
  }
  Floats<2> moments{};  // of x - mean: what is missing to the mean, and the squares
  row.each([&](int column, const float(&v)[W]) {
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float d = kLayer ? (place.has(column + k) ? v[k] - s.mean : 0.0f) : v[k];
      if constexpr (kLayer) moments.item[0] += d;
      moments.item[1] += d * d;
    }
  });
  moments = group.sum(moments);
  float variance = moments.item[1] * share;
  if constexpr (kLayer) {
    const float shift = moments.item[0] * share, guess = s.mean;
    variance = fmaxf(variance - shift * shift, 0.0f);
    if (moments.item[1] != moments.item[1]) variance = moments.item[1];  // fmaxf passes over NaN
    if (shift - shift == 0) {
      s.mean = guess + shift;
      s.rest = shift - (s.mean - guess);
    }
  }
  s.rstd = 1.0f / sqrtf(variance + epsilon);
  return s;
}

// The statistics of the group's row and then its results: put(place, column, y) for every pack of a thread. A group
// without a row has plan.rows as its number.
template <bool kLayer, class T, int N, class Put>
__device__ inline void norm_of_row(const T* x, const Norm& norm, float* mean, float* rstd, const RowPlan& plan,
                                   Group& group, int64_t number, const Put& put) {
  constexpr int W = kPackWidth<T>;
  const Place<W> place(group, number, plan.rows, plan.columns);
  const Row<T, N> row(x, place);
  const RowStatistics s = row_statistics<kLayer>(row, place, group, plan.columns, norm.epsilon);
  if (group.rank() == 0 && number < plan.rows) {
    if constexpr (kLayer) mean[number] = s.mean;
    rstd[number] = s.rstd;
  }
  const float rest = s.rest * s.rstd;
  row.each([&](int column, const float(&v)[W]) {
    float scale[W], shift[W], y[W];
    take_shared(norm.gamma, place, column, scale);
    if constexpr (kLayer) take_shared(norm.beta, place, column, shift);
#pragma unroll
    for (int k = 0; k < W; ++k) {
      const float xhat = kLayer ? (v[k] - s.mean) * s.rstd - rest : v[k] * s.rstd;
      y[k] = xhat * (scale[k] + norm.gamma_offset);
      if constexpr (kLayer) y[k] += shift[k];
    }
    put(place, column, y);
  });
}

// Rows, and what gamma and beta are, of a node whose x is input `first`; gamma and (with_beta) beta follow.
struct NormShape {
  DType x = DType::float32;
  int64_t rows = 0, columns = 0;
  Norm norm;

  bool read(const Node& node, int first, bool with_beta, std::string* why) {
    const Aval& input = node.inputs[first];
    if (input.shape.empty()) return *why = "x has no axis to normalise", false;
    for (int i = first; i < first + (with_beta ? 3 : 2); ++i)
      if (!is_row_type(node.inputs[i].dtype))
        return *why = std::string("no norm of ") + dtype_name(node.inputs[i].dtype), false;
    columns = input.shape.back();
    if (!RowPlan::fits(columns)) return *why = "a row has more than 2^30 elements", false;
    rows = 1;
    for (size_t i = 0; i + 1 < input.shape.size(); ++i) rows *= input.shape[i];
    x = input.dtype;
    norm.gamma.dtype = node.inputs[first + 1].dtype;
    if (with_beta) norm.beta.dtype = node.inputs[first + 2].dtype;
    norm.epsilon = static_cast<float>(node.params.number("epsilon", 1e-6));
    norm.gamma_offset = node.params.flag("zeroCenteredGamma") ? 1.0f : 0.0f;
    return true;
  }
};

}  // namespace te::cuda
