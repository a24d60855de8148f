// The list of events that are free.
#include "cuda/events.h"

#include <chrono>

namespace te::cuda {

cudaEvent_t Events::take() {
  {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      const cudaEvent_t event = free_.back();
      free_.pop_back();
      return event;
    }
  }
  cudaEvent_t event;
  check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync), "cudaEventCreate");
  return event;
}

void Events::give(cudaEvent_t event) {
  std::lock_guard lock(mutex_);
  free_.push_back(event);
}

cudaError_t Mark::wait() const {
  using std::chrono::steady_clock;
  const auto until = steady_clock::now() + std::chrono::microseconds(50);
  do {
    const cudaError_t status = cudaEventQuery(event_);
    if (status != cudaErrorNotReady) return status;
  } while (steady_clock::now() < until);
  return cudaEventSynchronize(event_);
}

}  // namespace te::cuda
