// The check of indices that are values.
#pragma once
#include <string>

#include "plan/axis.h"
#include "plan/refusals.h"
#include "te/kernel.h"
#include "te/status.h"

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Throws unless every index lies in [0, size). `fn` is the function's name in TypeScript.
inline void check_indices(const char* fn, const int32_t* indices, int64_t n, int64_t size) {
  uint32_t largest = 0;  // as unsigned numbers, negative ones are the largest
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t index = static_cast<uint32_t>(indices[i]);
    largest = index > largest ? index : largest;
  }
  if (n == 0 || static_cast<int64_t>(largest) < size) return;
  for (int64_t i = 0; i < n; ++i) {
    if (indices[i] < 0 || indices[i] >= size) {
      throw Error("index", refused_index(fn, indices[i], i, size));
    }
  }
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
