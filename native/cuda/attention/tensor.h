// Attention on tensor cores: which problems it takes, and its launches. An own file for each dtype instantiates them.
#pragma once
#include "cuda/attention/attention.h"
#include "cuda/context.h"

namespace te::cuda::attention {

constexpr int64_t kMaxTensorDepth = 256;

inline bool takes_tensor_cores(const te::attention::Problem& p) {
  const bool bias = !p.has_bias || p.bias_dtype == p.dtype || p.bias_dtype == DType::float32;
  return dtype_bytes(p.dtype) == 2 && bias && p.depth > 0 && p.value_depth > 0 && p.depth <= kMaxTensorDepth &&
         p.value_depth <= kMaxTensorDepth;
}

// Blocks of a forward kernel that takes so many rows at a time.
inline unsigned forward_blocks(const Operands& a, int rows) {
  const int64_t blocks = (static_cast<int64_t>(a.fold) * a.queries + rows - 1) / rows;
  return static_cast<unsigned>(blocks * (a.heads / a.fold) * a.batch * a.splits);
}

void tensor_forward_bfloat16(const Operands& a);
void tensor_forward_float16(const Operands& a);

inline void tensor_forward(const Operands& a, DType dtype) {
  dtype == DType::bfloat16 ? tensor_forward_bfloat16(a) : tensor_forward_float16(a);
}

inline bool gradients_take_tensor_cores(const te::attention::Problem& p) { return false; }
inline void tensor_backward(const Operands& a, DType dtype) {}

}  // namespace te::cuda::attention
