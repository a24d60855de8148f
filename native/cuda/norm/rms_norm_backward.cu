// rms_norm_backward(dy, x, gamma, rstd) → dx, dgamma.
#include "cuda/norm/norm_backward.cuh"

namespace te::cuda {
namespace {

TE_CUDA_KERNEL(rms_norm_backward, prepare_norm_backward<false>);

}  // namespace
}  // namespace te::cuda
