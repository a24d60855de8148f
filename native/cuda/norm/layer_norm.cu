// layer_norm(x, gamma, beta) → y, mean, rstd.
#include "cuda/norm/norm_forward.cuh"

namespace te::cuda {
namespace {

TE_CUDA_KERNEL(layer_norm, prepare_norm<true>);

}  // namespace
}  // namespace te::cuda
