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

// Gradients keep four tiles in shared memory, which not every GPU has room for.
inline bool gradients_take_tensor_cores(const te::attention::Problem& p) {
  constexpr size_t kWide = size_t{4} * kTile * kMaxTensorDepth * 2 + 2048;
  const bool wide = std::max(p.depth, p.value_depth) > 128;
  return takes_tensor_cores(p) && (!wide || context().properties.sharedMemPerBlockOptin >= kWide);
}
// Blocks of the kernel of dk and dv that share a tile of keys.
constexpr int key_gradient_parts(int depth) { return depth > 128 ? 2 : 1; }
void tensor_backward_bfloat16(const Operands& a);
void tensor_backward_float16(const Operands& a);
inline void tensor_backward(const Operands& a, DType dtype) {
  dtype == DType::bfloat16 ? tensor_backward_bfloat16(a) : tensor_backward_float16(a);
}

}  // namespace te::cuda::attention
