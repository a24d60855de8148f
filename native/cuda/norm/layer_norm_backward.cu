// layer_norm_backward(dy, x, gamma, mean, rstd) → dx, dgamma, dbeta.
#include "cuda/norm/norm_backward.cuh"

namespace te::cuda {
namespace {

TE_CUDA_KERNEL(layer_norm_backward, prepare_norm_backward<true>);

}  // namespace
}  // namespace te::cuda
