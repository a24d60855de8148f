// Gradients of attention on tensor cores for bfloat16.
#include "cuda/attention/tensor_backward.cuh"

namespace te::cuda::attention {

void tensor_backward_bfloat16(const Operands& a) { tensor_backward_of<__nv_bfloat16>(a); }

}  // namespace te::cuda::attention
