// Draws of random bits, and the parts of them that an op makes: an element follows from its index in the whole.
#pragma once
#include <string>
#include <vector>

#include "plan/strides.h"

namespace te {

// The counter of a tensor's first element, and the distances of neighbours along its axes.
struct Draw {
  int64_t first = 0;
  std::vector<int64_t> strides;
};

// A tensor of a shape in a draw of shape `of` that holds it from the index `start` on; where both are empty, it is all.
inline bool read_draw(const Shape& shape, std::vector<int64_t> of, std::vector<int64_t> start, Draw* draw,
                      std::string* why) {
  if (of.empty() && start.empty()) of = shape, start.assign(shape.size(), 0);
  if (of.size() != shape.size() || start.size() != shape.size()) return *why = "a part of another rank", false;
  *draw = {0, strides_of(of)};
  for (size_t i = 0; i < shape.size(); ++i) {
    if (start[i] < 0 || start[i] + shape[i] > of[i]) return *why = "a part beyond the whole", false;
    draw->first += start[i] * draw->strides[i];
  }
  return true;
}

// Of a mask that is shared along some axes.
inline bool read_shared_draw(Shape shape, std::vector<int64_t> of, std::vector<int64_t> start,
                             const std::vector<int64_t>& shared, Draw* draw, std::string* why) {
  for (int64_t axis : shared) {
    const size_t i = static_cast<size_t>(axis);
    if (axis < 0 || i >= shape.size()) return *why = "an axis that x does not have", false;
    shape[i] = 1;
    if (i < of.size()) of[i] = 1;
    if (i < start.size()) start[i] = 0;
  }
  if (!read_draw(shape, std::move(of), std::move(start), draw, why)) return false;
  for (int64_t axis : shared) draw->strides[static_cast<size_t>(axis)] = 0;
  return true;
}

// A tensor as rows whose elements have counters that follow each other, or all have the same.
struct DrawRows {
  int64_t first, rows = 1, width = 1;
  bool is_shared = false;

  DrawRows(const Shape& shape, const Draw& draw)
      : first(draw.first), outer(merged_axes(shape, strides_of(shape), draw.strides)) {
    if (!outer.empty() && outer.back().out <= 1) {
      width = outer.back().size;
      is_shared = outer.back().out == 0;
      outer.pop_back();
    }
    for (const MovedAxis& axis : outer) rows *= axis.size;
  }

  // The counter of the first element of a row.
  int64_t counter(int64_t row) const {
    int64_t at = first;
    for (size_t i = outer.size(); i-- > 0; row /= outer[i].size) at += row % outer[i].size * outer[i].out;
    return at;
  }

 private:
  std::vector<MovedAxis> outer;  // outermost first
};

}  // namespace te
