// A word of the machine's memory that kernels of one thread write: also those of captured graphs.
#include "cuda/launch.h"
#include "cuda/nccl/progress.h"

namespace te::cuda {
namespace {

// One store of 8 bytes: the host sees the old word or the new one.
__global__ void __launch_bounds__(1)
    write_place(unsigned long long* count, volatile unsigned long long* place, uint32_t now) {
  *place = ++*count << 32 | now;
}

}  // namespace

void Progress::start() {
  if (place_) return;
  check(cudaMalloc(reinterpret_cast<void**>(&count_), sizeof *count_), "cudaMalloc");
  check(cudaMemsetAsync(count_, 0, sizeof *count_, stream()), "the GPU");
  void* pinned = nullptr;
  check(cudaMallocHost(&pinned, sizeof *place_), "cudaMallocHost");
  place_ = static_cast<volatile unsigned long long*>(pinned);
  *place_ = 0;
}

void Progress::queue(uint32_t place) const {
  launch("write place", write_place, {dim3(1), dim3(1)}, count_, place_, place);
}

uint64_t Progress::at() const {
  if (!place_) return 0;
  const uint64_t at = *place_;
  return place_of(at) == 0 ? 0 : at;
}

}  // namespace te::cuda
