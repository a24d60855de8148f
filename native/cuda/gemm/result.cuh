// The last step of a product: sums scaled, biased, rounded once and stored.
#pragma once
#include "cuda/values.cuh"

namespace te::cuda {

struct ResultOptions {
  DType dtype = DType::float32, bias_dtype = DType::float32;
  const void* bias = nullptr;  // along the columns; nullptr: none
  const float *a_scale = nullptr, *b_scale = nullptr;
  void* y = nullptr;

  __device__ float scale() const { return a_scale ? *a_scale * *b_scale : 1.0f; }
  __device__ float value(float sum, float scale, int64_t column) const {
    if (a_scale) sum *= scale;
    return bias ? sum + load_real(bias_dtype, bias, column) : sum;
  }
};

}  // namespace te::cuda
