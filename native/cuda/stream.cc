// The stream of CUDA kernels.
#include "cuda/registration.h"

namespace te::cuda {

cudaStream_t stream() { return cudaStreamPerThread; }

}  // namespace te::cuda
