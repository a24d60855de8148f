// Adding up what came from others, or taking the largest or smallest.
#pragma once
#include "plan/collective.h"

namespace te::cuda {

// Parts of n elements each: part k lies at slots + k * stride bytes, that of `place` at `own`. The stride is a multiple
// of 16 bytes; slots and `to` are aligned to them.
struct Parts {
  const void* slots;
  int64_t stride;
  const void* own;
  int64_t place, count;
  void* to;
};

// Queues to[i] = all parts' elements i combined in order: 16-bit floats and FP8 in float32, rounded once.
void combine(Reduction reduction, DType type, const Parts& parts, int64_t n);

}  // namespace te::cuda
