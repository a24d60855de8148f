// Results that cuBLASLt cannot write itself.
#pragma once
#include <cstdint>

#include "te/dtype.h"

namespace te::cuda {

// y [batches, m, n] = round(sums + bias) of float32 sums [batches, m_from, n_from]; y may be the sums themselves where
// the sizes agree and it is float32.
struct Finish {
  const float* sums;
  void* y;
  DType dtype;
  const void* bias;  // along n; nullptr: none
  DType bias_dtype;
  int64_t batches, m, n, m_from, n_from;
};
void finish(const Finish& f);

}  // namespace te::cuda
