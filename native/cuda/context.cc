// Which GPU the calling thread works for, and errors of CUDA as errors of Transformer Engine.
#include "cuda/context.h"

#include <utility>

namespace te::cuda {
namespace {
thread_local Context* current = nullptr;
thread_local cudaStream_t recording = nullptr;
}  // namespace

Context& context() {
  if (!current) throw Error("state", "a CUDA kernel was used on a thread that has no GPU");
  return *current;
}

cudaStream_t stream() { return recording ? recording : context().main; }

Using::Using(Context& context, cudaStream_t stream)
    : context_(std::exchange(current, &context)), stream_(std::exchange(recording, stream)) {
  if (context_ != current) check(cudaSetDevice(context.ordinal), "cudaSetDevice");
}

Using::~Using() {
  if (context_ && context_ != current) cudaSetDevice(context_->ordinal);
  current = context_;
  recording = stream_;
}

namespace {

// Errors that the runtime gives to every later call, too.
bool ends_gpu(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchFailure:
    case cudaErrorLaunchTimeout:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorHardwareStackError:
    case cudaErrorAssert:
    case cudaErrorECCUncorrectable:
    case cudaErrorDevicesUnavailable:
      return true;
    default:
      return false;
  }
}

}  // namespace

Error error_of(cudaError_t status, const char* what) {
  cudaGetLastError();
  const std::string text = cudaGetErrorString(status);
  if (ends_gpu(status))
    return Error("backend", "the GPU failed: " + text +
                                ". Tensors on it are lost; those of the host and of the device \"cpu\" live on. Start "
                                "the process again to use the GPU.");
  return Error(status == cudaErrorMemoryAllocation ? "memory" : "backend", std::string(what) + ": " + text);
}

void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw error_of(status, what);
}

}  // namespace te::cuda
