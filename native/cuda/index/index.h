// Indices that are values, on the GPU: how one out of range is reported.
#pragma once
#include <memory>
#include <string>

#include "cuda/report.h"
#include "plan/refusals.h"

namespace te::cuda {

// For indices of the function `fn` of TypeScript into an axis of `size`.
inline Site::Explain refuse_index(const char* fn, int64_t size) {
  return [fn, size](int64_t position, int32_t index) {
    return Failure{"index", refused_index(fn, index, position, size)};
  };
}

// Reports the first index outside [0, size).
void check_indices(const int32_t* indices, int64_t n, int64_t size, const Report& to);

}  // namespace te::cuda
