// Gradients of attention on tensor cores for float16.
#include "cuda/attention/tensor_backward.cuh"

namespace te::cuda::attention {

void tensor_backward_float16(const Operands& a) { tensor_backward_of<__half>(a); }

}  // namespace te::cuda::attention
