// joined_square_sum against reduce_sum over squares in float32, to the bit.
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

void check(DType dtype, const Shape& shape) {
  Op op("joined_square_sum"), sum("reduce_sum");
  op.input(dtype, shape).output(DType::float32, {});
  std::vector<double> axes;
  for (size_t i = 0; i < shape.size(); ++i) axes.push_back(static_cast<double>(i));
  sum.input(DType::float32, shape).output(DType::float32, {}).param("axes", axes).param("keepDims", false);
  if (count(shape) > 0) op.normal(0);
  const Values x = op.in(0);
  if (count(shape) > 0)
    sum.fill(0, [&](int64_t i) {
      const float number = static_cast<float>(x[static_cast<size_t>(i)]);
      return number * number;
    });
  op.run();
  sum.run();
  expect_exact(op, label(dtype, shape), 0, sum.out(0));
}

}  // namespace

int main() {
  for (const DType dtype : {DType::float32, DType::bfloat16, DType::float16})
    for (const Shape& shape : {Shape{}, {1}, {0, 4}, {65}, {2047}, {3, 2049}, {257, 1031}}) check(dtype, shape);
  return failures();
}
