// Where the GPU is among the collectives of its stream, for the host to watch while it works.
#pragma once
#include <cstdint>

namespace te::cuda {

class Progress {
 public:
  // Memory of the calling thread's GPU and of the machine; kept until the process ends.
  void start();
  // Queues on stream() that the GPU is at a place (not 0) from then on; 0: at none.
  void queue(uint32_t place) const;
  // The last place that it came to, below a number that changes with every one. 0: none.
  uint64_t at() const;
  static uint32_t place_of(uint64_t at) { return static_cast<uint32_t>(at); }

 private:
  unsigned long long* count_ = nullptr;           // on the GPU
  volatile unsigned long long* place_ = nullptr;  // pinned
};

}  // namespace te::cuda
