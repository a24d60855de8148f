// The last step of kernels whose float32 result goes to float8 directly: q = float8(clip(y * scale)), amax = max |y|.
// amax is taken on the bits, where NaN is larger than infinity and infinity larger than any number, so that both show.
#pragma once
#include <bit>

#include "cpu/rows.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Updates *amax with y and multiplies y by the scale.
inline void scale_and_measure(float* y, int64_t n, float scale, int32_t* amax) {
  int32_t largest = *amax;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) {
    const int32_t magnitude = std::bit_cast<int32_t>(y[i]) & 0x7fffffff;
    largest = magnitude > largest ? magnitude : largest;
    y[i] *= scale;
  }
  *amax = largest;
}

// One amax per part in scratch, each on its own cache line.
class PartMaxima {
 public:
  static size_t bytes(int64_t parts) { return static_cast<size_t>(parts) * 64; }
  PartMaxima(void* scratch, int64_t parts) : first_(static_cast<int32_t*>(scratch)), parts_(parts) {
    for (int64_t i = 0; i < parts; ++i) first_[i * 16] = 0;
  }
  int32_t* of(int64_t part) const { return first_ + part * 16; }
  float all() const {
    int32_t largest = 0;
    for (int64_t i = 0; i < parts_; ++i) largest = std::max(largest, first_[i * 16]);
    return std::bit_cast<float>(largest);
  }

 private:
  int32_t* first_;
  int64_t parts_;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
