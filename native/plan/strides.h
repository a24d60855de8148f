// Strides of row-major arrays, and axes that are gone through as one.
#pragma once
#include <cstdint>
#include <vector>

#include "te/kernel.h"

namespace te {

inline std::vector<int64_t> strides_of(const Shape& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t step = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = step;
    step *= shape[i];
  }
  return strides;
}

// An axis of elements that are copied: its length, and the distance of neighbours in the source and in the target.
struct MovedAxis {
  int64_t size, in, out;
};

// Without axes of length 1, and with neighbouring axes that form one run in both arrays merged.
inline std::vector<MovedAxis> merged_axes(const Shape& shape, const std::vector<int64_t>& in,
                                          const std::vector<int64_t>& out) {
  std::vector<MovedAxis> axes;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 1) continue;
    if (!axes.empty() && axes.back().in == in[i] * shape[i] && axes.back().out == out[i] * shape[i])
      axes.back() = {axes.back().size * shape[i], in[i], out[i]};
    else
      axes.push_back({shape[i], in[i], out[i]});
  }
  return axes;
}

}  // namespace te
