// rms_norm_quantize_transposed: rms_norm_quantize whose codes are written in both orders.
#include "cuda/norm/norm_quantize_transposed.cuh"

namespace te::cuda {
namespace {

TE_CUDA_KERNEL(rms_norm_quantize_transposed, prepare_norm_quantize_transposed<false>);

}  // namespace
}  // namespace te::cuda
