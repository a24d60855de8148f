// The three attention ops of one case, with inputs drawn once and checked against double precision.
#pragma once
#include "test/attention_oracle.h"

namespace te::test {

class Trio {
 public:
  explicit Trio(const AttentionCase& c)
      : c(c),
        wanted(c),
        forward("attention"),
        backward("attention_backward"),
        bias_backward("attention_bias_backward") {
    const bool qkv = c.packing == "qkv", kv = c.packing == "kv";
    const Shape q = qkv ? Shape{3, c.heads, c.depth} : Shape{c.heads, c.depth};
    const Shape k = kv ? Shape{2, c.groups, c.depth} : Shape{c.groups, c.depth}, v = {c.groups, c.value_depth};
    q_shape = lead(c.queries, q), k_shape = lead(c.keys, k), v_shape = lead(c.keys, v);
    out_shape = lead(c.queries, {c.heads, c.value_depth});
    forward.input(c.dtype, q_shape);
    operands(forward);
    const Shape rows = {c.batch, c.heads, c.queries};
    forward.output(c.dtype, out_shape).output(DType::float32, rows).output(DType::float32, rows);
    for (Op* op : {&backward, &bias_backward}) {
      op->input(c.dtype, q_shape).input(c.dtype, out_shape).input(DType::float32, rows).input(DType::float32, rows);
      op->input(c.dtype, out_shape);
      operands(*op);
    }
    backward.output(c.dtype, q_shape)
        .output(c.dtype, qkv ? Shape{0} : k_shape)
        .output(c.dtype, qkv || kv ? Shape{0} : v_shape);
    if (!c.bias.empty()) bias_backward.output(c.dtype, {c.bias[0], c.bias[1], c.queries, c.keys});
    fill();
    wanted.compute();
  }

  void check() {
    const double f = c.dtype == DType::float32 ? 2e-6 : c.dtype == DType::bfloat16 ? 5e-3 : 1e-3;
    const double g = c.dtype == DType::bfloat16 ? 8e-3 : f, x = c.dtype == DType::float32 ? 1e-5 : 4 * f;
    run();
    const std::string label = c.name + " " + dtype_name(c.dtype);
    expect_norms(forward, label + " out", 0, pack_rows(wanted.out, c.queries, c.heads, c.value_depth), f, x);
    expect_norms(forward, label + " max", 1, wanted.max, 2e-6, 1e-5);
    expect_norms(forward, label + " sum", 2, wanted.sum, 2e-6, 1e-5);
    const Values dq = pack_rows(wanted.dq, c.queries, c.heads, c.depth),
                 dk = pack_rows(wanted.dk, c.keys, c.groups, c.depth);
    const Values dv = pack_rows(wanted.dv, c.keys, c.groups, c.value_depth);
    if (c.packing == "qkv") {
      expect_norms(backward, label + " dqkv", 0, interleave({dq, dk, dv}), g, x);
    } else if (c.packing == "kv") {
      expect_norms(backward, label + " dq", 0, dq, f, x);
      expect_norms(backward, label + " dkv", 1, interleave({dk, dv}), g, x);
    } else {
      expect_norms(backward, label + " dq", 0, dq, f, x);
      expect_norms(backward, label + " dk", 1, dk, g, x);
      expect_norms(backward, label + " dv", 2, dv, g, x);
    }
    if (!c.bias.empty()) expect_norms(bias_backward, label + " dbias", 0, wanted.dbias, g, x);
  }

  void run() {
    forward.run();
    for (Op* op : {&backward, &bias_backward}) {
      for (int i : {0, 1, 2}) std::memcpy(op->inputs[1 + i].as(), forward.outputs[i].as(), forward.outputs[i].size);
    }
    backward.run();
    if (!c.bias.empty()) bias_backward.run();
  }

  const AttentionCase c;
  Attention wanted;
  Op forward, backward, bias_backward;

 private:
  Shape lead(int64_t length, Shape rest) const {
    Shape shape = c.layout == "sbhd" ? Shape{length, c.batch} : Shape{c.batch, length};
    shape.insert(shape.end(), rest.begin(), rest.end());
    return shape;
  }

  void optional(Op& op, bool there, DType dtype, Shape shape) {
    if (there)
      op.input(dtype, std::move(shape));
    else
      op.absent();
  }

  void operands(Op& op) {
    const bool first = op.node.inputs.size() == 1;
    optional(op, c.packing != "qkv", c.dtype, k_shape);
    optional(op, c.packing == "none", c.dtype, v_shape);
    optional(op, !c.bias.empty(), c.dtype, c.bias.empty() ? Shape{} : Shape{c.bias[0], c.bias[1], c.queries, c.keys});
    optional(op, !c.mask.empty(), DType::boolean,
             c.mask.empty() ? Shape{} : Shape{c.mask[0], c.mask[1], c.mask[2], c.keys});
    optional(op, c.segments, DType::int32, {c.batch, c.queries});
    optional(op, c.segments, DType::int32, {c.batch, c.keys});
    optional(op, c.q_positions, DType::int32, {c.batch, c.queries});
    optional(op, c.kv_positions, DType::int32, {c.batch, c.keys});
    if (first) optional(op, c.softmax == "learnable", DType::float32, {c.heads});
    optional(op, c.dropout > 0, DType::uint32, {2});
    if (!first) op.input(DType::float32, {c.batch, c.heads, c.queries});
    op.param("layout", c.layout.c_str()).param("packing", c.packing.c_str()).param("biasType", c.bias_type.c_str());
    op.param("softmaxType", c.softmax.c_str()).param("scale", c.scale).param("dropout", c.dropout);
    op.param("weightsOf", numbers(c.weights_of)).param("weightsStart", numbers(c.weights_start));
    op.param("causal", c.causal)
        .param("bottomRight", c.bottom_right)
        .param("windowLeft", c.left)
        .param("windowRight", c.right);
  }

  static std::vector<double> numbers(const Shape& shape) { return {shape.begin(), shape.end()}; }

  template <class T>
  void share(int forward_index, const std::vector<T>& values) {
    const int backward_index = forward_index == 10 ? 13 : forward_index + 4;
    for (auto [op, at] :
         {std::pair{&forward, forward_index}, {&backward, backward_index}, {&bias_backward, backward_index}})
      if (!values.empty())
        std::memcpy(op->inputs[static_cast<size_t>(at)].as(), values.data(), values.size() * sizeof(T));
  }

  void fill() {
    forward.normal(0);
    for (int i : {1, 2})
      if (forward.node.inputs[i].present) forward.normal(i);
    if (!c.bias.empty()) forward.normal(3);
    if (!c.mask.empty()) wanted.mask = draw_mask();
    const auto pattern = [&](int64_t n, auto f) {
      std::vector<int32_t> values;
      for (int64_t b = 0; b < c.batch; ++b)
        for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<int32_t>(f(b, i, n)));
      return values;
    };
    const auto segment = [](int64_t b, int64_t i, int64_t n) { return i > n - 4 ? 0 : 1 + (i * 3 + b) / n; };
    const auto position = [](int64_t b, int64_t i, int64_t n) { return (i * 7 + b) % n; };
    if (c.segments) wanted.segments_q = pattern(c.queries, segment), wanted.segments_kv = pattern(c.keys, segment);
    if (c.q_positions) wanted.positions_q = pattern(c.queries, position);
    if (c.kv_positions) wanted.positions_kv = pattern(c.keys, position);
    share(4, wanted.mask), share(5, wanted.segments_q), share(6, wanted.segments_kv);
    share(7, wanted.positions_q), share(8, wanted.positions_kv);
    if (c.dropout > 0) share(10, std::vector<uint32_t>{wanted.key[0], wanted.key[1]});
    if (c.softmax == "learnable") forward.normal(9);
    backward.normal(4).normal(14, 0, c.zero_dlse ? 0 : 1);
    for (int i : {4, 14}) std::memcpy(bias_backward.inputs[i].as(), backward.inputs[i].as(), backward.inputs[i].size);
    for (Op* op : {&backward, &bias_backward}) {
      std::memcpy(op->inputs[0].as(), forward.inputs[0].as(), forward.inputs[0].size);
      for (int i : {1, 2, 3}) std::memcpy(op->inputs[i + 4].as(), forward.inputs[i].as(), forward.inputs[i].size);
    }
    decode();
  }

  std::vector<uint8_t> draw_mask() {
    std::mt19937 random(3);
    std::vector<uint8_t> mask(static_cast<size_t>(forward.node.inputs[4].size()));
    for (size_t i = 0; i < mask.size(); ++i) {
      const int64_t query = static_cast<int64_t>(i) / c.keys % c.mask[2];
      mask[i] = random() % 3 == 0 || query >= c.hidden_from;
    }
    return mask;
  }

  void decode() {
    const Values first = forward.in(0);
    const Values second = forward.node.inputs[1].present ? forward.in(1) : Values{};
    const bool qkv = c.packing == "qkv", kv = c.packing == "kv";
    const Values* k_from = qkv ? &first : &second;
    wanted.q = unpack_rows(first, c.queries, c.heads, c.depth, qkv ? 3 : 1, 0);
    wanted.k = unpack_rows(*k_from, c.keys, c.groups, c.depth, qkv ? 3 : kv ? 2 : 1, qkv ? 1 : 0);
    wanted.v = qkv || kv ? unpack_rows(*k_from, c.keys, c.groups, c.depth, qkv ? 3 : 2, qkv ? 2 : 1)
                         : unpack_rows(forward.in(2), c.keys, c.groups, c.value_depth, 1, 0);
    wanted.dout = unpack_rows(backward.in(4), c.queries, c.heads, c.value_depth, 1, 0);
    if (!c.bias.empty()) wanted.bias = forward.in(3);
    if (c.softmax == "learnable") wanted.sink = forward.in(9);
    wanted.dlse = backward.in(14);
  }

  // [B, S, heads, depth] out of slot `slot` of the wire layout, and back for one slot.
  Values unpack_rows(const Values& wire, int64_t length, int64_t heads, int64_t depth, int64_t slots,
                     int64_t slot) const {
    Values rows;
    const int64_t n = heads * depth;
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t i = 0; i < length; ++i) {
        const int64_t at = (c.layout == "sbhd" ? i * c.batch + b : b * length + i) * slots + slot;
        rows.insert(rows.end(), wire.begin() + at * n, wire.begin() + (at + 1) * n);
      }
    return rows;
  }

  Values pack_rows(const Values& rows, int64_t length, int64_t heads, int64_t depth) const {
    if (c.layout != "sbhd") return rows;
    Values wire;
    const int64_t n = heads * depth;
    for (int64_t i = 0; i < length; ++i)
      for (int64_t b = 0; b < c.batch; ++b)
        wire.insert(wire.end(), rows.begin() + (b * length + i) * n, rows.begin() + (b * length + i + 1) * n);
    return wire;
  }

  Values interleave(const std::vector<Values>& parts) const {
    Values packed;
    const int64_t n = c.groups * c.depth;
    for (int64_t row = 0; row < c.batch * c.keys; ++row)
      for (const Values& part : parts)
        packed.insert(packed.end(), part.begin() + row * n, part.begin() + (row + 1) * n);
    return packed;
  }

  Shape q_shape, k_shape, v_shape, out_shape;
};

}  // namespace te::test
