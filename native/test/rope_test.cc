// rope against double precision: methods, layouts, positions, dtypes, the known vectors, and in-place runs.
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

struct RopeCase {
  Shape shape;
  bool alternate;
  int axis;
  Shape positions;
  double low = 1, high = 10000;
  bool inverse = false;
  int slots = 0;
};

Values wanted(const Op& op, const RopeCase& c) {
  const Values x = op.in(0), positions = c.positions.empty() ? Values{} : op.in(1);
  Values y(x.size());
  const int64_t length = c.shape[static_cast<size_t>(c.axis)], depth = c.shape.back(), pairs = depth / 2;
  const int64_t heads = count(c.shape) / (c.shape[0] * c.shape[1] * depth);
  const int64_t turning = c.slots ? heads / c.shape[2] * c.slots : heads;
  for (int64_t row = 0; row < c.shape[0] * c.shape[1]; ++row) {
    const int64_t i = c.axis == 1 ? row % length : row / c.shape[1], b = c.axis == 1 ? row / length : row % c.shape[1];
    const double at =
        c.positions.empty() ? double(i) : positions[static_cast<size_t>(c.positions.size() == 2 ? b * length + i : i)];
    for (int64_t k = 0; k < heads * pairs; ++k) {
      const int64_t head = k / pairs, pair = k % pairs, base = (row * heads + head) * depth;
      const double angle = at / (c.low * std::pow(c.high / c.low, double(pair) / double(pairs)));
      const double cosine = head < turning ? std::cos(angle) : 1;
      const double sine = head < turning ? std::sin(angle) * (c.inverse ? -1 : 1) : 0;
      const auto first = static_cast<size_t>(base + (c.alternate ? pair : 2 * pair));
      const size_t second = first + static_cast<size_t>(c.alternate ? pairs : 1);
      y[first] = x[first] * cosine - x[second] * sine;
      y[second] = x[second] * cosine + x[first] * sine;
    }
  }
  return y;
}

Op make(const RopeCase& c, DType dtype) {
  Op op("rope");
  op.input(dtype, c.shape).normal(0);
  if (!c.positions.empty()) {
    op.input(DType::int32, c.positions);
    for (int64_t i = 0; i < count(c.positions); ++i)
      op.inputs[1].as<int32_t>()[i] = static_cast<int32_t>(i * 7919 % 200000 - 100000);
  }
  op.output(dtype, c.shape).param("method", c.alternate ? "alternate" : "consecutive").param("sequenceAxis", c.axis);
  op.param("windowMin", c.low).param("windowMax", c.high).param("inverse", c.inverse);
  op.param("slots", c.slots);
  return op;
}

void check_vectors() {
  const double expected[2][3][4] = {{{1, 2, 3, 4},
                                     {-1.14263966, 1.9220756, 2.95985067, 4.0297995},
                                     {-2.23474169, 0.07700375, 2.91940535, 4.05919603}},
                                    {{1, 2, 3, 4},
                                     {-1.98411065, 1.95990067, 2.4623779, 4.01979967},
                                     {-3.14403912, 1.91960535, -0.33914308, 4.03919736}}};
  for (bool alternate : {false, true}) {
    Op op = make({{1, 3, 1, 4}, alternate, 1, {}}, DType::float32);
    op.fill(0, [](int64_t i) { return static_cast<float>(1 + i % 4); }).run();
    Values flat;
    for (const auto& row : expected[alternate]) flat.insert(flat.end(), row, row + 4);
    op.expect_close("vectors", 0, flat, 3e-7, 3e-7);
  }
}

}  // namespace

int main() {
  for (DType dtype : kFloats)
    for (bool alternate : {false, true})
      for (int axis : {0, 1})
        for (const Shape& positions : {Shape{}, Shape{37}, Shape{3, 37}})
          for (int64_t depth : {2, 14, 64})
            for (int slots : {0, 1, 2}) {
              Shape shape = axis == 1 ? Shape{3, 37, 2, depth} : Shape{37, 3, 2, depth};
              if (slots > 0) shape.insert(shape.begin() + 2, 3);
              const RopeCase c{shape, alternate, axis, positions, 2, 50000, depth == 14, slots};
              Op op = make(c, dtype);
              op.run();
              expect_rounded(op, label(dtype, shape) + (alternate ? " alternate" : " consecutive"), 0, wanted(op, c));
            }
  check_vectors();
  for (DType dtype : {DType::float32, DType::bfloat16})
    for (bool alternate : {false, true}) {
      Op op = make({{8, 256, 8, 64}, alternate, 1, {}}, dtype);
      race(op, label(dtype, {8, 256, 8, 64}) + (alternate ? " alternate" : " consecutive"));
    }
  std::printf("%d failures\n", failures());
  return failures();
}
