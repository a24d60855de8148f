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

void check(cudaError_t status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw Error(status == cudaErrorMemoryAllocation ? "memory" : "backend",
              std::string(what) + ": " + cudaGetErrorString(status));
}

}  // namespace te::cuda
