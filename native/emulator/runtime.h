// The CUDA runtime without a GPU: the functions of NVIDIA's cuda_runtime_api.h that a backend needs, with their rules.
//
//  * Work on a stream does not run when it is queued but later, when somebody waits, or now and then by chance. What
//    lacks an event or a synchronisation therefore reads memory too early.
//  * Device memory is filled with NaN when it is allocated and when it is freed. With TE_EMU_GUARD=1 the host cannot
//  touch
//    it: outside of kernels and copies its pages can be neither read nor written.
//  * What must not happen while a stream captures (cudaMalloc, waiting, …) fails as it does on a GPU.
//  * A graph holds arguments and pointers as they were when it was captured.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>
#include <tuple>
#include <utility>

namespace te::emu {

// A kernel with its arguments, as they were when it was queued.
struct Bound {
  std::shared_ptr<void> arguments;
  size_t bytes;
  void (*call)(void* arguments);
};
cudaError_t queue_bound(const char* name, const void* function, dim3 grid, dim3 threads, size_t shared_bytes,
                        cudaStream_t stream, Bound bound);

template <class... P, class... A>
cudaError_t queue(const char* name, void (*kernel)(P...), dim3 grid, dim3 threads, size_t shared_bytes,
                  cudaStream_t stream, A&&... arguments) {
  struct Closure {
    void (*kernel)(P...);
    std::tuple<P...> arguments;
  };
  return queue_bound(
      name, reinterpret_cast<const void*>(kernel), grid, threads, shared_bytes, stream,
      {std::make_shared<Closure>(Closure{kernel, {std::forward<A>(arguments)...}}), sizeof(Closure),
       [](void* p) { std::apply(static_cast<Closure*>(p)->kernel, static_cast<Closure*>(p)->arguments); }});
}

// The words of the last launch that failed: CUDA itself would say only cudaErrorLaunchFailure.
const char* last_failure();

// Where device memory lies, for the checker.
bool is_device_address(const void* p);

// Of live allocations: for leak checks.
size_t device_bytes();

}  // namespace te::emu
