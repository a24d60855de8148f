// Blocks from the CUDA runtime.
#include "cuda/memory.h"

#include "te/host_memory.h"

namespace te::cuda {
namespace {

class PinnedMemory : public Allocator {
 public:
  void* allocate(size_t bytes) override {
    void* data = nullptr;
    if (cudaMallocHost(&data, bytes) == cudaSuccess) return data;
    cudaGetLastError();
    return nullptr;
  }
  void release(void* data) override { cudaFreeHost(data); }
  size_t capacity() const override { return host_pool().capacity(); }
  size_t cache_limit() const override { return host_pool().capacity() / 8; }
};

}  // namespace

void* DeviceMemory::allocate(size_t bytes) {
  const Using use(context_);
  void* data = nullptr;
  const cudaError_t status = cudaMalloc(&data, bytes);
  if (status == cudaErrorMemoryAllocation) return cudaGetLastError(), nullptr;
  check(status, "cudaMalloc");
  return data;
}

void DeviceMemory::release(void* data) {
  const Using use(context_);
  cudaFree(data);
}

Pool& pinned_pool() {
  static auto* pool = new Pool(*new PinnedMemory);  // outlives every static
  return *pool;
}

}  // namespace te::cuda
