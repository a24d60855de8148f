// rms_norm_quantize: the norm of rms_norm with its result in float8.
#include "cuda/norm/norm_quantize.cuh"

namespace te::cuda {
namespace {

TE_CUDA_KERNEL(rms_norm_quantize, prepare_norm_quantize<false>);

}  // namespace
}  // namespace te::cuda
