// A shape around one of its axes, and the ops that take from one.
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

// What take asks for: rows of x along an axis.
inline bool read_take(const Node& node, AroundAxis* x, std::string* why) {
  if (!node.params.only({"axis"}, why)) return false;
  if (!around_axis(node.inputs[0].shape, node.params.integer("axis"), x, why)) return false;
  const bool good = node.inputs[1].dtype == DType::int32;
  if (!good) *why = "indices that are not int32";
  return good;
}

// What take_along_axis asks for: x and the result around an axis.
inline bool read_take_along_axis(const Node& node, AroundAxis* x, AroundAxis* y, std::string* why) {
  if (!node.params.only({"axis"}, why)) return false;
  const int64_t axis = node.params.integer("axis");
  if (!around_axis(node.inputs[0].shape, axis, x, why) || !around_axis(node.outputs[0].shape, axis, y, why))
    return false;
  const bool good = node.inputs[1].dtype == DType::int32 && x->outer == y->outer && x->inner == y->inner;
  if (!good) *why = "indices that do not fit x";
  return good;
}

}  // namespace te
