// layer_norm_quantize: the norm of layer_norm with its result in float8.
#include "cuda/norm/norm_quantize.cuh"

namespace te::cuda {
namespace {

TE_CUDA_KERNEL(layer_norm_quantize, prepare_norm_quantize<true>);

}  // namespace
}  // namespace te::cuda
