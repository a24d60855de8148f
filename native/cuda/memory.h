// Memory of a GPU, and memory of the machine that it copies from and to fastest.
#pragma once
#include "cuda/context.h"
#include "te/pool.h"

namespace te::cuda {

// Plain blocks of the GPU of `context`. Freeing one waits until the GPU is done, so the pool keeps most of them.
class DeviceMemory : public Allocator {
 public:
  explicit DeviceMemory(Context& context) : context_(context) {}
  void* allocate(size_t bytes) override;
  void release(void* data) override;
  size_t capacity() const override { return context_.properties.totalGlobalMem; }
  size_t cache_limit() const override { return capacity(); }
  const char* owner() const override { return "the GPU"; }

 private:
  Context& context_;
};

// Blocks that the system never moves, for every GPU of the process.
Pool& pinned_pool();

}  // namespace te::cuda
