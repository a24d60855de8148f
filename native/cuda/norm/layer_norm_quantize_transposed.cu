// layer_norm_quantize_transposed: layer_norm_quantize whose codes are written in both orders.
#include "cuda/norm/norm_quantize_transposed.cuh"

namespace te::cuda {
namespace {

TE_CUDA_KERNEL(layer_norm_quantize_transposed, prepare_norm_quantize_transposed<true>);

}  // namespace
}  // namespace te::cuda
