// Attention on tensor cores for bfloat16.
#include "cuda/attention/tensor_forward.cuh"

namespace te::cuda::attention {

void tensor_forward_bfloat16(const Operands& a) { tensor_forward_of<__nv_bfloat16>(a); }

}  // namespace te::cuda::attention
