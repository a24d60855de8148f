// How host code starts a kernel. The triple chevron is nvcc's alone; this is C++, and so the emulator can take its
// place.
#pragma once
#include <cuda_runtime_api.h>

#include <utility>

#include "cuda/registration.h"

#ifdef TE_CUDA_EMULATED
#include "emulator/runtime.h"
#else
#include <cuda_runtime.h>
#endif

namespace te::cuda {

struct Launch {
  dim3 grid, threads;
  size_t shared_bytes = 0;
};

// Queues `kernel` on stream(). Throws te::Error "backend" naming `what` when the launch is refused.
template <class... P, class... A>
void launch(const char* what, void (*kernel)(P...), const Launch& shape, A&&... arguments) {
#ifdef TE_CUDA_EMULATED
  check(
      emu::queue(what, kernel, shape.grid, shape.threads, shape.shared_bytes, stream(), std::forward<A>(arguments)...),
      what);
#else
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.threads;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream();
  check(cudaLaunchKernelEx(&config, kernel, std::forward<A>(arguments)...), what);
#endif
}

// Lets a kernel have more than 48 KB of dynamic shared memory, or as much as another node was allowed for it.
template <class... P>
void allow_shared(void (*kernel)(P...), size_t bytes) {
  const void* function = reinterpret_cast<const void*>(kernel);
  const int wanted = static_cast<int>(bytes);
  cudaFuncAttributes now;
  check(cudaFuncGetAttributes(&now, function), "shared memory");
  if (wanted > now.maxDynamicSharedSizeBytes)
    check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize, wanted), "shared memory");
}

}  // namespace te::cuda
