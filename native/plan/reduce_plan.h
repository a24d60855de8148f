// How a reduction walks its operand: as [outer, length, inner], where the outer axes are any mixture of kept and
// reduced ones, `length` is the innermost reduced run of axes and `inner` the kept run behind it (1 when there is
// none).
#pragma once
#include <algorithm>
#include <vector>

#include "te/kernel.h"

namespace te {

// Offsets of the row-major multi-indices of some axes.
struct Offsets {
  std::vector<int64_t> shape, stride;
  int64_t count = 1;

  void add(int64_t n, int64_t step) {
    shape.insert(shape.begin(), n);
    stride.insert(stride.begin(), step);
    count *= n;
  }
  int64_t at(int64_t index) const {
    int64_t offset = 0;
    for (size_t i = shape.size(); i-- > 1; index /= shape[i]) offset += index % shape[i] * stride[i];
    return shape.empty() ? 0 : offset + index * stride[0];
  }
};

struct ReducePlan {
  Offsets kept, reduced;
  int64_t length = 1, inner = 1;
  bool empty = false;  // nothing to reduce over: every result is the initial value

  ReducePlan(const Shape& shape, std::vector<int64_t> axes) {
    const int64_t rank = static_cast<int64_t>(shape.size());
    for (int64_t& axis : axes) axis += axis < 0 ? rank : 0;
    struct Run {
      int64_t size, stride;
      bool reduced;
    };
    std::vector<Run> runs;  // innermost first
    int64_t stride = 1;
    for (int64_t i = rank; i-- > 0; stride *= shape[static_cast<size_t>(i)]) {
      const int64_t n = shape[static_cast<size_t>(i)];
      const bool is_reduced = std::find(axes.begin(), axes.end(), i) != axes.end();
      empty = empty || (is_reduced && n == 0);
      if (n == 1) continue;
      if (!runs.empty() && runs.back().reduced == is_reduced) {
        runs.back().size *= n;
      } else {
        runs.push_back({n, stride, is_reduced});
      }
    }
    size_t next = 0;
    if (next < runs.size() && !runs[next].reduced) inner = runs[next++].size;
    if (next < runs.size()) length = runs[next++].size;
    for (; next < runs.size(); ++next) (runs[next].reduced ? reduced : kept).add(runs[next].size, runs[next].stride);
  }

  int64_t results() const { return kept.count * inner; }
};

}  // namespace te
