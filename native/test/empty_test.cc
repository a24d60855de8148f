// Every kernel on tensors without elements: each of the axes that a kernel knows has length 0 once. What can be wrong
// is a look at a row, a column or a number before it is known that there is one; the sanitizers see it, for operands
// here end where their blocks do.
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

const std::vector<Shape> kEmpty = {{0},    {0, 5},     {0, 257},   {0, 16384}, {3, 0},
                                   {0, 0}, {2, 0, 33}, {0, 3, 64}, {4, 3, 0}};

const DType kAll[] = {DType::float32, DType::bfloat16, DType::float16, DType::int32, DType::uint32, DType::uint8};

Shape without_last(Shape shape) {
  shape.pop_back();
  return shape;
}

Shape with_axis(Shape shape, size_t axis, int64_t length) {
  shape[axis] = length;
  return shape;
}

Values numbers(const Shape& shape) { return Values(shape.begin(), shape.end()); }

// Runs it; every element of the results it has is `wanted`, unless that is left out.
void go(Op& op, const Values& wanted = {}) {
  const std::string what = label(op.node.outputs[0].dtype, op.node.inputs.empty() ? Shape{} : op.node.inputs[0].shape);
  try {
    op.run();
    for (size_t i = 0; i < wanted.size(); ++i)
      expect_exact(op, what, static_cast<int>(i), Values(static_cast<size_t>(op.node.outputs[i].size()), wanted[i]));
  } catch (const Error& error) {
    expect(false, op.node.op + " " + what + ": " + error.what());
  }
}

void check_rows(DType t, const Shape& shape) {
  const Shape rows = without_last(shape), width = {shape.back()};
  go(Op("softmax").input(t, shape).output(t, shape));
  go(Op("softmax_backward").input(t, shape).input(t, shape).output(t, shape));
  go(Op("logsumexp").input(t, shape).output(t, rows), {-std::numeric_limits<double>::infinity()});
  if (count(rows) == 0) {
    Op loss("cross_entropy"), gradient("cross_entropy_backward");
    loss.input(t, shape).input(DType::int32, rows);
    for (int i = 0; i < 3; ++i) loss.output(DType::float32, rows);
    gradient.input(t, shape).input(DType::int32, rows).output(t, shape);
    for (int i = 0; i < 3; ++i) gradient.input(DType::float32, rows);
    go(loss);
    go(gradient);
  }
  for (bool layer : {true, false}) {
    const std::string name = layer ? "layer_norm" : "rms_norm";
    Op forward(name), backward(name + "_backward"), quantize(name + "_quantize");
    for (Op* op : {&forward, &quantize}) {
      op->input(t, shape).input(t, width);
      if (layer) op->input(t, width);
    }
    quantize.input(DType::float32, {1}).param("dtype", "float8_e4m3fn");
    forward.output(t, shape);
    quantize.output(DType::float8_e4m3fn, shape).output(DType::float32, {1});
    backward.input(t, shape).input(t, shape).input(t, width).output(t, shape).output(t, width);
    if (layer) backward.output(t, width);
    for (int i = layer ? 0 : 1; i < 2; ++i) {
      forward.output(DType::float32, rows);
      quantize.output(DType::float32, rows);
      backward.input(DType::float32, rows);
    }
    go(forward);
    go(quantize);
    expect(quantize.out(1)[0] == 0, name + "_quantize: the amax of nothing is 0");
    go(backward, {0, 0});  // sums over no rows
    if (layer) expect_exact(backward, "dbeta", 2, Values(static_cast<size_t>(width[0]), 0.0));
  }
}

void check_elements(DType t, const Shape& shape) {
  Op quantize("quantize");
  quantize.input(t, shape).input(DType::float32, {1}).output(DType::float8_e5m2, shape).output(DType::float32, {1});
  go(quantize.param("dtype", "float8_e5m2"), {0, 0});
  Op dropout("dropout");
  dropout.input(t, shape).input(DType::uint32, {2}).output(t, shape).param("rate", 0.5);
  go(dropout.param("broadcastDims", Values{}));
  Op adamw("adamw_update");
  for (int i = 0; i < 4; ++i) adamw.input(t, shape);
  adamw.input(DType::float32, {}).input(DType::int32, {}).fill(4, [](int64_t) { return 0.1f; });
  adamw.inputs[5].as<int32_t>()[0] = 1;
  go(adamw.output(t, shape).output(t, shape).output(t, shape));
  for (const std::vector<std::string>& names : {std::vector<std::string>{"gelu"}, {"gelu", "linear"}}) {
    Shape u = shape;
    u.insert(u.end() - 1, static_cast<int64_t>(names.size()));
    go(Op("gated_activation").input(t, u).output(t, shape).texts("activations", names));
    go(Op("gated_activation_backward").input(t, shape).input(t, u).output(t, u).texts("activations", names));
    Op q("gated_activation_quantize");
    q.input(t, u).input(DType::float32, {1}).output(DType::float8_e4m3fn, shape).output(DType::float32, {1});
    go(q.texts("activations", names).param("dtype", "float8_e4m3fn"), {0, 0});
  }
}

void check_axes(DType t, const Shape& shape) {
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    const int at = static_cast<int>(axis);
    Shape kept = shape;
    kept.erase(kept.begin() + at);
    go(Op("sort").input(t, shape).output(t, shape).output(DType::int32, shape).param("axis", at));
    go(Op("cumsum").input(t, shape).output(t, shape).param("axis", at));
    go(Op("reduce_sum").input(t, shape).output(t, kept).param("axes", Values{double(at)}), {0});
    go(Op("reduce_prod").input(t, shape).output(t, kept).param("axes", Values{double(at)}), {1});
    for (const char* name : {"reduce_max", "reduce_min"})
      go(Op(name).input(t, shape).output(t, kept).param("axes", Values{double(at)}));
    for (const char* name : {"argmax", "argmin"}) {
      Op op(name);
      op.input(t, shape).output(DType::int32, kept).param("axis", at);
      if (shape[axis] > 0) go(op);
    }
    for (int64_t indices : {0, 4}) {
      const Shape taken = with_axis(shape, axis, indices);
      const bool nowhere = indices > 0 && shape[axis] == 0;
      Op take("take"), along("take_along_axis"), add("scatter_add");
      take.input(t, shape).input(DType::int32, {indices}).output(t, taken).param("axis", at).fill(1, [](int64_t) {
        return 0.0f;
      });
      along.input(t, shape).input(DType::int32, taken).output(t, taken).param("axis", at);
      std::fill_n(take.inputs[1].as<int32_t>(), indices, 0);
      std::fill_n(along.inputs[1].as<int32_t>(), count(taken), 0);
      add.input(DType::int32, {indices}).input(t, taken).output(t, shape).param("axis", at);
      std::fill_n(add.inputs[0].as<int32_t>(), indices, 0);
      add.param("size", static_cast<int>(shape[axis]));
      if (!nowhere) go(take), go(add);
      if (!nowhere || count(taken) == 0) go(along);
    }
    Op concat("concat");
    concat.input(t, shape).input(t, with_axis(shape, axis, 3)).input(t, shape).param("axis", at);
    go(concat.output(t, with_axis(shape, axis, 2 * shape[axis] + 3)));
  }
}

void check_moves(DType t, const Shape& shape) {
  Values low(shape.size(), 1), none(shape.size(), 0), ones(shape.size(), 1), axes;
  Shape padded, reversed(shape.rbegin(), shape.rend()), wider = {2};
  for (size_t i = 0; i < shape.size(); ++i) {
    padded.push_back(shape[i] + 1);
    wider.push_back(shape[i]);
    axes.push_back(double(shape.size() - 1 - i));
  }
  Op pad("pad");
  go(pad.input(t, shape).output(t, padded).param("low", low).param("high", none).param("value", 2), {2});
  Op cut("slice");
  cut.input(t, padded).output(t, shape).param("start", none).param("limit", numbers(shape)).param("stride", ones);
  go(cut);
  go(Op("flip").input(t, shape).output(t, shape).param("axes", axes));
  go(Op("transpose").input(t, shape).output(t, reversed).param("perm", axes));
  go(Op("broadcast_to").input(t, shape).output(t, wider).param("shape", numbers(wider)));
  go(Op("reshape").input(t, shape).output(t, {0}).param("shape", Values{0}));
  Op fill("fill"), iota("iota"), read("dynamic_slice"), write("dynamic_update_slice");
  go(fill.output(t, shape).param("value", 2).param("shape", numbers(shape)).param("dtype", dtype_name(t)));
  go(iota.output(t, shape).param("axis", 0).param("shape", numbers(shape)).param("dtype", dtype_name(t)));
  const Shape rank = {static_cast<int64_t>(shape.size())};
  go(read.input(t, padded).input(DType::int32, rank).output(t, shape).param("sizes", numbers(shape)));
  go(write.input(t, padded).input(t, shape).input(DType::int32, rank).output(t, padded));
  Op add("elementwise");
  add.input(t, shape).input(t, shape).output(t, shape).param("outputs", Values{2});
  go(add.texts("code", {std::string("add ") + dtype_name(t) + " %0 %1"}));
}

struct Shape3 {
  int64_t m, n, k;
};

void check_products(DType t) {
  const bool scaled = is_float8(t);
  const DType out = scaled ? DType::bfloat16 : t;
  for (const auto& [m, n, k] : {Shape3{0, 64, 64}, {64, 0, 64}, {64, 70, 0}, {0, 0, 0}, {1, 40, 0}, {40, 1, 0}}) {
    for (bool ta : {false, true}) {
      for (bool tb : {false, true}) {
        Op op(scaled ? "scaled_dot" : "dot");
        op.input(t, ta ? Shape{k, m} : Shape{m, k}).input(t, tb ? Shape{n, k} : Shape{k, n});
        if (scaled) op.input(DType::float32, {1}).input(DType::float32, {1}).uniform(2, 1, 2).uniform(3, 1, 2);
        op.absent();
        op.param("lhsContract", Values{ta ? 0.0 : 1.0}).param("rhsContract", Values{tb ? 1.0 : 0.0});
        go(op.output(out, {m, n}).param("dtype", dtype_name(out)), {0});
      }
    }
  }
}

struct Lengths {
  int64_t batch, queries, keys, heads, depth;
};

void check_attention(DType t, const Lengths& a) {
  const Shape q = {a.batch, a.queries, a.heads, a.depth}, k = {a.batch, a.keys, a.heads, a.depth};
  const Shape rows = {a.batch, a.heads, a.queries}, scores = {1, a.heads, a.queries, a.keys};
  Op forward("attention"), backward("attention_backward"), bias("attention_bias_backward");
  forward.input(t, q).input(t, k).input(t, k).input(t, scores);
  for (Op* op : {&backward, &bias}) {
    op->input(t, q).input(t, q).input(DType::float32, rows).input(DType::float32, rows).input(t, q);
    op->input(t, k).input(t, k).input(t, scores);
  }
  for (int i = 0; i < 7; ++i) forward.absent();
  for (Op* op : {&backward, &bias})
    for (int i = 0; i < 7; ++i) op->absent();
  forward.output(t, q).output(DType::float32, rows).output(DType::float32, rows);
  backward.output(t, q).output(t, k).output(t, k);
  bias.output(t, scores);
  for (Op* op : {&forward, &backward, &bias}) {
    op->param("layout", "bshd")
        .param("packing", "none")
        .param("biasType", "post_scale")
        .param("softmaxType", "vanilla");
    op->param("scale", 1.0).param("dropout", 0.0).param("causal", true).param("bottomRight", false);
    go(op->param("windowLeft", -1).param("windowRight", -1), {0});
  }
}

// Rows without elements are not gone through: there may be billions.
void check_long() {
  const int64_t many = int64_t{1} << 40;
  for (DType t : {DType::float32, DType::int32, DType::uint8}) {
    const Shape shape = {0, many}, last = {many, 0}, middle = {many, 2, 0};
    go(Op("sort").input(t, shape).output(t, shape).output(DType::int32, shape).param("axis", 0));
    go(Op("cumsum").input(t, shape).output(t, shape).param("axis", 0));
    Op take("take");
    take.input(t, middle).input(DType::int32, {3}).output(t, {many, 3, 0}).param("axis", 1);
    std::fill_n(take.inputs[1].as<int32_t>(), 3, 1);
    go(take);
    go(Op("take_along_axis").input(t, last).input(DType::int32, last).output(t, last).param("axis", 0));
  }
}

void check_random() {
  Op bits("random_bits"), split("random_split");
  go(bits.input(DType::uint32, {2}).output(DType::uint32, {0}).param("width", 32));
  go(split.input(DType::uint32, {2}).output(DType::uint32, {0, 2}).param("count", 0));
}

}  // namespace

int main() {
  for (DType t : kFloats) {
    for (const Shape& shape : kEmpty) {
      check_rows(t, shape);
      check_elements(t, shape);
    }
    for (const Shape& shape : {Shape{0, 8, 2, 64}, {2, 0, 2, 64}, {2, 8, 0, 64}, {2, 8, 2, 0}})
      go(Op("rope").input(t, shape).absent().output(t, shape).param("sequenceAxis", 1));
    check_products(t);
    for (const Lengths& a : {Lengths{0, 5, 7, 2, 16}, {2, 0, 7, 2, 16}, {2, 5, 0, 2, 16}, {2, 0, 0, 2, 16}})
      check_attention(t, a);
  }
  for (DType t : kAll) {
    for (const Shape& shape : kEmpty) {
      check_axes(t, shape);
      check_moves(t, shape);
    }
  }
  for (DType t : {DType::int32, DType::float8_e4m3fn}) check_products(t);
  check_long();
  check_random();
  return failures();
}
