// Indices that are values: their check, and the axes around the indexed one.
#pragma once
#include <string>

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
      throw Error("index", std::string(fn) + ": every index must be in [0, " + std::to_string(size) + "), got " +
                               std::to_string(indices[i]) + " at position " + std::to_string(i) +
                               ". Clip the indices or mask them out first.");
    }
  }
}

// A shape as [outer, length, inner] around one axis.
struct AroundAxis {
  int64_t outer = 1, length = 1, inner = 1;
};

inline bool around_axis(const Shape& shape, int64_t axis, AroundAxis* out, std::string* why) {
  const int64_t rank = static_cast<int64_t>(shape.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) {
    *why = "an axis that the operand does not have";
    return false;
  }
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t d = shape[static_cast<size_t>(i)];
    (i < axis ? out->outer : i == axis ? out->length : out->inner) *= d;
  }
  return true;
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
