// A shape around one of its axes.
#pragma once
#include <cstdint>
#include <string>

#include "te/kernel.h"

namespace te {

// A shape as [outer, length, inner].
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

}  // namespace te
