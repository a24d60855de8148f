// Attention on tensor cores for float16.
#include "cuda/attention/tensor_forward.cuh"

namespace te::cuda::attention {

void tensor_forward_float16(const Operands& a) { tensor_forward_of<__half>(a); }

}  // namespace te::cuda::attention
