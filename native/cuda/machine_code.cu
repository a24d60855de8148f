// Whether this build has code for a GPU: a build for development holds that of the GPUs that were asked for alone.
#include "cuda/context.h"
#include "cuda/launch.h"
#include "cuda/machine_code.h"

namespace te::cuda {
namespace {

__global__ void __launch_bounds__(32) nothing() {}

}  // namespace

void expect_machine_code(const Context& context) {
  cudaFuncAttributes attributes;
  const cudaError_t status = cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(nothing));
  if (status != cudaErrorNoKernelImageForDevice && status != cudaErrorInvalidDeviceFunction &&
      status != cudaErrorUnsupportedPtxVersion)
    return check(status, "the kernels");
  cudaGetLastError();
  const std::string number = std::to_string(context.capability());
  throw Error("backend", "this build of te_cuda.node has no code for compute capability " +
                             std::to_string(context.properties.major) + "." + std::to_string(context.properties.minor) +
                             "; build it with TE_CUDA_ARCH=" + number);
}

}  // namespace te::cuda
