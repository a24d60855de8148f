// softmax, logsumexp, cross_entropy and their gradients against double precision.
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

constexpr int64_t kSoftmaxWidths[] = {1, 11, 31, 32, 33, 257, 4096, 16384};
const double kInf = std::numeric_limits<double>::infinity();

double logsumexp(const Values& x, size_t first, size_t n) {
  double largest = -kInf, sum = 0;
  for (size_t i = 0; i < n; ++i) largest = std::max(largest, x[first + i]);
  if (std::isinf(largest)) return largest;
  for (size_t i = 0; i < n; ++i) sum += std::exp(x[first + i] - largest);
  return largest + std::log(sum);
}

Values softmax(const Values& x, size_t n) {
  Values y(x.size());
  for (size_t first = 0; first < x.size(); first += n) {
    const double lse = logsumexp(x, first, n);
    for (size_t i = first; i < first + n; ++i) y[i] = std::exp(x[i] - lse);
  }
  return y;
}

void check_softmax(DType dtype, int64_t width) {
  const Shape shape = {3, 5, width};
  const size_t n = static_cast<size_t>(width);
  Op op("softmax");
  op.input(dtype, shape).normal(0, 1, 1).output(dtype, shape).run();
  expect_rounded(op, label(dtype, shape), 0, softmax(op.in(0), n));

  Op back("softmax_backward");
  back.input(dtype, shape).input(dtype, shape).normal(1).output(dtype, shape);
  std::memcpy(back.inputs[0].as(), op.outputs[0].as(), op.outputs[0].size);
  back.run();
  const Values y = back.in(0), dy = back.in(1);
  Values dx(y.size());
  for (size_t first = 0; first < y.size(); first += n) {
    double mean = 0, total = 0;
    for (size_t i = first; i < first + n; ++i) mean += y[i] * dy[i], total += y[i];
    mean /= total;
    for (size_t i = first; i < first + n; ++i) dx[i] = y[i] * (dy[i] - mean);
  }
  if (width > 1) expect_rounded(back, label(dtype, shape), 0, dx);  // for one column y * (dy - y dy) is rounding alone

  Op sum("logsumexp");
  sum.input(dtype, shape).normal(0, 2, 3).output(dtype, {3, 5}).run();
  Values wanted;
  for (size_t row = 0; row < 15; ++row) wanted.push_back(logsumexp(sum.in(0), row * n, n));
  expect_rounded(sum, label(dtype, shape), 0, wanted);
}

// No rows: the operands end where they begin.
void check_no_rows(DType dtype, int64_t width) {
  Op("softmax").input(dtype, {0, width}).output(dtype, {0, width}).run();
  Op("softmax_backward").input(dtype, {0, width}).input(dtype, {0, width}).output(dtype, {0, width}).run();
  Op("logsumexp").input(dtype, {0, width}).output(dtype, {0}).run();
}

void check_cross_entropy(DType dtype, int64_t width) {
  const int64_t rows = 13;
  const size_t n = static_cast<size_t>(width);
  Op op("cross_entropy");
  op.input(dtype, {rows, width}).normal(0, 0, 3).input(DType::int32, {rows});
  for (int32_t i = 0; i < rows; ++i) op.inputs[1].as<int32_t>()[i] = (i * 7) % static_cast<int32_t>(width);
  for (int i = 0; i < 3; ++i) op.output(DType::float32, {rows});
  op.run();
  Op back("cross_entropy_backward");
  back.input(dtype, {rows, width})
      .input(DType::int32, {rows})
      .input(DType::float32, {rows})
      .input(DType::float32, {rows})
      .input(DType::float32, {rows});
  back.normal(4).output(dtype, {rows, width});
  for (int i : {0, 1}) std::memcpy(back.inputs[i].as(), op.inputs[i].as(), op.inputs[i].size);
  for (int i : {1, 2}) std::memcpy(back.inputs[1 + i].as(), op.outputs[i].as(), op.outputs[i].size);
  back.run();
  const Values x = op.in(0), dloss = back.in(4);
  Values loss, max, sum, dx = softmax(x, n);
  for (size_t row = 0; row < rows; ++row) {
    const size_t picked = row * n + static_cast<size_t>(op.inputs[1].as<int32_t>()[row]);
    const double lse = logsumexp(x, row * n, n);
    max.push_back(*std::max_element(x.begin() + row * n, x.begin() + (row + 1) * n));
    sum.push_back(std::exp(lse - max.back()));
    loss.push_back(lse - x[picked]);
    dx[picked] -= 1;
    for (size_t i = row * n; i < (row + 1) * n; ++i) dx[i] *= dloss[row];
  }
  expect_rounded(op, label(dtype, {rows, width}), 1, max);
  expect_rounded(op, label(dtype, {rows, width}), 2, sum);
  if (width == 1) return;  // loss and gradient are rounding alone
  expect_rounded(op, label(dtype, {rows, width}), 0, loss);
  expect_rounded(back, label(dtype, {rows, width}), 0, dx);
}

void check_bad_labels() {
  for (int32_t bad : {5, -1}) {
    Op op("cross_entropy");
    op.input(DType::float32, {3, 5})
        .normal(0)
        .input(DType::int32, {3})
        .output(DType::float32, {3})
        .output(DType::float32, {3})
        .output(DType::float32, {3});
    for (int i = 0; i < 3; ++i) op.inputs[1].as<int32_t>()[i] = i == 2 ? bad : i;
    const std::string error = error_of([&] { op.run(); });
    expect(error.starts_with("index: ") && error.find(std::to_string(bad) + " at position 2") != std::string::npos,
           "bad label: " + error);
  }
}

void check_special() {
  const float inf = static_cast<float>(kInf), nan = std::numeric_limits<float>::quiet_NaN();
  const float rows[4][3] = {{-inf, -inf, -inf}, {1, -inf, 1}, {inf, 0, 1}, {1, nan, 2}};
  const auto fill = [&](int64_t i) { return rows[i / 3][i % 3]; };
  const double n = nan;
  for (DType dtype : kFloats) {
    Op op("softmax");
    op.input(dtype, {4, 3}).fill(0, fill).output(dtype, {4, 3}).run();
    expect_exact(op, std::string("special ") + dtype_name(dtype), 0, {n, n, n, .5, 0, .5, n, n, n, n, n, n});
  }
  Op sum("logsumexp");
  sum.input(DType::float32, {4, 3}).fill(0, fill).output(DType::float32, {4}).run();
  sum.expect_close("special", 0, {-kInf, 1 + std::log(2.0), kInf, n}, 1e-6, 0);
}

}  // namespace

int main() {
  for (DType dtype : kFloats)
    for (int64_t width : kSoftmaxWidths) {
      check_softmax(dtype, width);
      check_no_rows(dtype, width);
      check_cross_entropy(dtype, width);
    }
  check_bad_labels();
  check_special();
  for (DType dtype : {DType::float32, DType::bfloat16})
    for (int64_t width : {512, 16384}) {
      const Shape shape = {int64_t{1 << 21} / width, width};
      Op op("softmax");
      op.input(dtype, shape).normal(0).output(dtype, shape);
      race(op, label(dtype, shape));
      Op back("softmax_backward");
      back.input(dtype, shape).normal(0).input(dtype, shape).normal(1).output(dtype, shape);
      race(back, label(dtype, shape));
    }
  for (DType dtype : {DType::float32, DType::bfloat16}) {
    Op op("cross_entropy");
    op.input(dtype, {64, 32000})
        .normal(0)
        .input(DType::int32, {64})
        .output(DType::float32, {64})
        .output(DType::float32, {64})
        .output(DType::float32, {64});
    std::memset(op.inputs[1].as(), 0, 256);
    race(op, label(dtype, {64, 32000}));
  }
  std::printf("%d failures\n", failures());
  return failures();
}
