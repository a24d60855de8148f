// Attention on tensor cores for float16.
#include "cuda/attention/tensor_forward.cuh"

namespace te::cuda::attention {

template void tensor_forward_of<__half>(const Operands& a);

}  // namespace te::cuda::attention
