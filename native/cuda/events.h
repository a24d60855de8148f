// Events that are used again, because making one costs more than recording it.
#pragma once
#include <mutex>
#include <utility>
#include <vector>

#include "cuda/context.h"

namespace te::cuda {

// Of one GPU. Outlives the events that it gave.
class Events {
 public:
  cudaEvent_t take();
  void give(cudaEvent_t event);

 private:
  std::mutex mutex_;
  std::vector<cudaEvent_t> free_;
};

// An event recorded on a stream when it is made.
class Mark {
 public:
  Mark(Events& events, cudaStream_t stream) : events_(&events), event_(events.take()) {
    if (const cudaError_t status = cudaEventRecord(event_, stream); status != cudaSuccess) {
      events.give(event_);
      check(status, "the GPU");
    }
  }
  Mark(Mark&& other) noexcept : events_(other.events_), event_(std::exchange(other.event_, nullptr)) {}
  Mark& operator=(Mark&& other) noexcept {
    std::swap(events_, other.events_), std::swap(event_, other.event_);
    return *this;
  }
  ~Mark() {
    if (event_) events_->give(event_);
  }
  bool reached() const { return cudaEventQuery(event_) != cudaErrorNotReady; }
  // What is queued on the stream from now on comes behind it.
  void hold(cudaStream_t stream) const { check(cudaStreamWaitEvent(stream, event_, 0), "the GPU"); }
  // Returns how the work before it ended. Looks again and again for a moment, then sleeps.
  cudaError_t wait() const;

 private:
  Events* events_;
  cudaEvent_t event_;
};

}  // namespace te::cuda
