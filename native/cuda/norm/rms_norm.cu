// rms_norm(x, gamma) → y, rstd.
#include "cuda/norm/norm_forward.cuh"

namespace te::cuda {
namespace {

TE_CUDA_KERNEL(rms_norm, prepare_norm<false>);

}  // namespace
}  // namespace te::cuda
