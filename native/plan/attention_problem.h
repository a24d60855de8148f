// What one attention node asks for: sizes, strides and options read from the node once.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string>

#include "plan/draw.h"
#include "te/kernel.h"

namespace te::attention {

inline constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Row (batch b, position i, head n) of an operand starts at element offset + b * batch + i * position + n * head.
struct Rows {
  int64_t offset = 0, batch = 0, position = 0, head = 0;
  constexpr int64_t at(int64_t b, int64_t i, int64_t n) const { return offset + b * batch + i * position + n * head; }
};

// Input numbers of the optional operands k, v, bias, ... in the order of the op's definition.
struct Operands {
  int k, v, bias, mask, segments_q, segments_kv, positions_q, positions_kv, sink, key, dlse;
  int dout = -1, out = -1, max = -1, sum = -1;
};

inline constexpr Operands kForwardOperands{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, -1};
inline constexpr Operands kBackwardOperands{5, 6, 7, 8, 9, 10, 11, 12, -1, 13, 14, 4, 1, 2, 3};

struct Problem {
  Operands operands;
  DType dtype, bias_dtype = DType::float32;
  int64_t batch, queries, keys, heads, groups, depth, value_depth;  // B, Sq, Skv, h, g, d, dv
  Rows q, k, v, out;
  std::string packing;
  float scale, bias_scale = 1;  // scores = scale * q·k + bias_scale * bias
  bool has_bias, has_mask, has_segments, has_q_positions, has_kv_positions, has_dlse, learnable, off_by_one;
  int64_t bias_batch = 1, bias_heads = 1, mask_batch = 1, mask_heads = 1, mask_queries = 1;
  // Key j is visible from query i when below <= j - i <= above, counted in positions.
  int64_t below, above;
  double dropout;
  Draw weights;  // along [B, g, h/g, Sq, Skv]: where dropout counts

  int64_t heads_per_group() const { return heads / groups; }
  // The counter of the weight of a row and key 0.
  int64_t counter(int64_t b, int64_t head, int64_t i) const {
    const std::vector<int64_t>& step = weights.strides;
    return weights.first + b * step[0] + head / heads_per_group() * step[1] + head % heads_per_group() * step[2] +
           i * step[3];
  }
  bool has_positions() const { return has_q_positions || has_kv_positions; }
  // The visible keys of a query depend on more than its index.
  bool explicit_mask() const { return has_mask || has_segments || has_positions(); }
  // Softmax has one more logit: its value for a head, or -inf.
  float sink(const Call& call, int64_t head) const {
    if (learnable) return call.input<float>(operands.sink)[head];
    return off_by_one ? 0.0f : -kInfinity;
  }
};

inline bool present(const Node& node, int index) {
  return index >= 0 && index < static_cast<int>(node.inputs.size()) && node.inputs[index].present;
}

// Rows of slot `slot` out of `slots` packed between position and head; shape [B, S, (slots,) heads, depth] or, with
// sequence_first, [S, B, ...].
inline Rows rows_of(int64_t batch, int64_t positions, int64_t heads, int64_t depth, bool sequence_first, int slots,
                    int slot) {
  const int64_t step = slots * heads * depth;
  Rows rows;
  rows.offset = slot * heads * depth;
  rows.batch = sequence_first ? step : positions * step;
  rows.position = sequence_first ? batch * step : step;
  rows.head = depth;
  return rows;
}

inline void read_visibility(const Node& node, Problem* p) {
  const int64_t unbounded = int64_t{1} << 40;
  const int64_t left = node.params.integer("windowLeft", -1), right = node.params.integer("windowRight", -1);
  const int64_t shift = node.params.flag("bottomRight") ? p->keys - p->queries : 0;
  p->below = left < 0 ? -unbounded : shift - left;
  p->above = right < 0 ? unbounded : shift + right;
  if (node.params.flag("causal")) p->above = std::min(p->above, shift);
}

inline bool read_operands(const Node& node, Problem* p, std::string* why) {
  const Operands& at = p->operands;
  p->has_bias = present(node, at.bias);
  p->has_mask = present(node, at.mask);
  p->has_segments = present(node, at.segments_q);
  p->has_q_positions = present(node, at.positions_q);
  p->has_kv_positions = present(node, at.positions_kv);
  p->has_dlse = present(node, at.dlse);
  if (p->has_bias) {
    const Aval& bias = node.inputs[at.bias];
    p->bias_batch = bias.shape[0];
    p->bias_heads = bias.shape[1];
    p->bias_dtype = bias.dtype;
    if (dtype_bytes(bias.dtype) < 2) return *why = "bias of dtype " + std::string(dtype_name(bias.dtype)), false;
    const std::string type = node.params.text("biasType", "none");
    if (type != "pre_scale" && type != "post_scale") return *why = "biasType " + type + " with a bias", false;
    if (type == "pre_scale") p->bias_scale = p->scale;
  }
  if (p->has_mask) {
    const Aval& mask = node.inputs[at.mask];
    if (dtype_bytes(mask.dtype) != 1) return *why = "mask of dtype " + std::string(dtype_name(mask.dtype)), false;
    p->mask_batch = mask.shape[0];
    p->mask_heads = mask.shape[1];
    p->mask_queries = mask.shape[2];
  }
  return true;
}

// Fills *p from a node of attention or one of its gradients. False and *why when something is unknown.
inline bool read_problem(const Node& node, const Operands& operands, Problem* p, std::string* why) {
  if (!node.params.only({"layout", "packing", "scale", "causal", "bottomRight", "windowLeft", "windowRight", "biasType",
                         "softmaxType", "dropout", "weightsOf", "weightsStart", "float32Logits"},
                        why))
    return false;
  p->operands = operands;
  const std::string layout = node.params.text("layout", "bshd"), softmax = node.params.text("softmaxType", "vanilla");
  p->packing = node.params.text("packing", "none");
  if (layout != "bshd" && layout != "sbhd") return *why = "layout " + layout, false;
  if (softmax != "vanilla" && softmax != "off_by_one" && softmax != "learnable")
    return *why = "softmax " + softmax, false;
  if (p->packing != "none" && p->packing != "qkv" && p->packing != "kv") return *why = "packing " + p->packing, false;
  p->off_by_one = softmax == "off_by_one";
  p->learnable = softmax == "learnable";
  p->scale = static_cast<float>(node.params.number("scale", 1));
  p->dropout = node.params.number("dropout", 0);

  const Aval& q = node.inputs[0];
  p->dtype = q.dtype;
  if (q.dtype != DType::float32 && q.dtype != DType::bfloat16 && q.dtype != DType::float16) {
    return *why = "q of dtype " + std::string(dtype_name(q.dtype)), false;
  }
  const bool last = layout == "sbhd", qkv = p->packing == "qkv", kv = p->packing == "kv";
  const Aval& k = qkv ? q : node.inputs[operands.k];
  const Aval& v = qkv || kv ? k : node.inputs[operands.v];
  if (k.dtype != q.dtype || v.dtype != q.dtype) return *why = "k or v of another dtype than q", false;
  p->batch = q.shape[last ? 1 : 0];
  p->queries = q.shape[last ? 0 : 1];
  p->keys = k.shape[last ? 0 : 1];
  p->heads = q.shape[q.shape.size() - 2];
  p->groups = k.shape[k.shape.size() - 2];
  p->depth = q.shape.back();
  p->value_depth = v.shape.back();
  const int slots = qkv ? 3 : kv ? 2 : 1;
  p->q = rows_of(p->batch, p->queries, p->heads, p->depth, last, qkv ? 3 : 1, 0);
  p->k = rows_of(p->batch, p->keys, p->groups, p->depth, last, slots, qkv ? 1 : 0);
  p->v = rows_of(p->batch, p->keys, p->groups, p->value_depth, last, slots, slots - 1);
  p->out = rows_of(p->batch, p->queries, p->heads, p->value_depth, last, 1, 0);
  if (p->keys >= int64_t{1} << 30 || p->queries >= int64_t{1} << 30) return *why = "more than 2^30 positions", false;
  const Shape weights = {p->batch, p->groups, p->groups > 0 ? p->heads_per_group() : 0, p->queries, p->keys};
  if (!read_draw(weights, node.params.integers("weightsOf"), node.params.integers("weightsStart"), &p->weights, why))
    return false;
  read_visibility(node, p);
  return read_operands(node, p, why);
}

}  // namespace te::attention
