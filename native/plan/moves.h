// Ops that copy elements between arrays whose axes have any strides: what their nodes ask for.
#pragma once
#include <string>
#include <vector>

#include "plan/strides.h"
#include "te/kernel.h"

namespace te {

// target[to + i · out] = source[from + i · in] for every multi-index i of the shape; all in elements.
struct StridedMove {
  Shape shape;
  std::vector<int64_t> in, out;
  int64_t from = 0, to = 0;
};

inline bool refuse_move(std::string* why, const char* text) {
  *why = text;
  return false;
}

// By NumPy's rule.
inline bool read_broadcast(const Node& node, StridedMove* move, std::string* why) {
  if (!node.params.only({"shape"}, why)) return false;
  const Aval &x = node.inputs[0], &y = node.outputs[0];
  if (x.shape.size() > y.shape.size()) return refuse_move(why, "y has fewer axes than x");
  const std::vector<int64_t> own = strides_of(x.shape);
  const size_t lead = y.shape.size() - x.shape.size();
  *move = {y.shape, std::vector<int64_t>(y.shape.size(), 0), strides_of(y.shape)};
  for (size_t i = 0; i < own.size(); ++i) {
    if (x.shape[i] == y.shape[lead + i])
      move->in[lead + i] = x.shape[i] == 1 ? 0 : own[i];
    else if (x.shape[i] != 1)
      return refuse_move(why, "the shapes do not broadcast");
  }
  return true;
}

inline bool read_slice(const Node& node, StridedMove* move, std::string* why) {
  if (!node.params.only({"start", "limit", "stride"}, why)) return false;
  const Aval &x = node.inputs[0], &y = node.outputs[0];
  const std::vector<int64_t> start = node.params.integers("start"), step = node.params.integers("stride");
  *move = {y.shape, strides_of(x.shape), strides_of(y.shape)};
  const size_t rank = x.shape.size();
  if (start.size() != rank || step.size() != rank || y.shape.size() != rank)
    return refuse_move(why, "start and stride need one entry per axis");
  for (size_t i = 0; i < rank; ++i) {
    const int64_t last = y.shape[i] > 0 ? start[i] + (y.shape[i] - 1) * step[i] : 0;
    if (start[i] < 0 || step[i] < 1 || (y.shape[i] > 0 && last >= x.shape[i]))
      return refuse_move(why, "the slice leaves x");
    move->from += start[i] * move->in[i];
    move->in[i] *= step[i];
  }
  return true;
}

inline bool read_flip(const Node& node, StridedMove* move, std::string* why) {
  if (!node.params.only({"axes"}, why)) return false;
  const Shape& shape = node.inputs[0].shape;
  *move = {shape, strides_of(shape), strides_of(shape)};
  for (int64_t axis : node.params.integers("axes")) {
    if (axis < 0 || axis >= static_cast<int64_t>(shape.size())) return refuse_move(why, "an axis that x does not have");
    const size_t i = static_cast<size_t>(axis);
    if (shape[i] == 0) continue;
    move->from += (shape[i] - 1) * move->in[i];
    move->in[i] = -move->in[i];
  }
  return true;
}

// A move for each input.
inline bool read_concat(const Node& node, std::vector<StridedMove>* moves, std::string* why) {
  if (!node.params.only({"axis"}, why)) return false;
  const Aval& y = node.outputs[0];
  const int64_t rank = static_cast<int64_t>(y.shape.size());
  int64_t axis = node.params.integer("axis");
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) return refuse_move(why, "an axis that y does not have");
  const std::vector<int64_t> out = strides_of(y.shape);
  const size_t along = static_cast<size_t>(axis);
  int64_t total = 0;
  for (const Aval& x : node.inputs) {
    if (static_cast<int64_t>(x.shape.size()) != rank || x.dtype != y.dtype)
      return refuse_move(why, "inputs of different rank or dtype");
    moves->push_back({x.shape, strides_of(x.shape), out, 0, total * out[along]});
    total += x.shape[along];
  }
  return total == y.shape[along] || refuse_move(why, "the lengths along axis do not add up");
}

// Of x to its place in y.
inline bool read_pad(const Node& node, StridedMove* move, std::string* why) {
  if (!node.params.only({"low", "high", "value"}, why)) return false;
  const Aval &x = node.inputs[0], &y = node.outputs[0];
  const std::vector<int64_t> low = node.params.integers("low"), high = node.params.integers("high");
  *move = {x.shape, strides_of(x.shape), strides_of(y.shape)};
  for (size_t i = 0; i < x.shape.size(); ++i) {
    if (i >= low.size() || i >= high.size() || low[i] < 0 || high[i] < 0 || low[i] + x.shape[i] + high[i] != y.shape[i])
      return refuse_move(why, "low and high do not fit the shapes");
    move->to += low[i] * move->out[i];
  }
  return true;
}

// Whether a window of `sizes` whose start is a value, int32 per axis, lies in an array of `shape`.
inline bool window_fits(const Shape& shape, const Shape& sizes, const Aval& start, std::string* why) {
  bool good =
      shape.size() == sizes.size() && start.dtype == DType::int32 && start.size() == static_cast<int64_t>(shape.size());
  for (size_t i = 0; good && i < shape.size(); ++i) good = sizes[i] >= 0 && sizes[i] <= shape[i];
  return good || refuse_move(why, "the window does not fit");
}

}  // namespace te
