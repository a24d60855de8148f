// A01: activations alone and gated, forward, backward and quantizing, against double-precision formulas.
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

using Names = std::vector<std::string>;

constexpr double kLimit = 1.5, kAlpha = 1.3, kOffset = 0.75;

double logistic(double x) { return 1 / (1 + std::exp(-x)); }

// Value and derivative.
std::pair<double, double> exact(const std::string& name, double x) {
  const auto swish = [](double z, double alpha) {
    const double s = logistic(alpha * z);
    return std::pair(z * s, s + alpha * z * s * (1 - s));
  };
  if (name == "gelu") {
    const double c = std::sqrt(2 / M_PI), t = std::tanh(c * (x + 0.044715 * x * x * x));
    return {0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * (1 + 3 * 0.044715 * x * x)};
  }
  if (name == "silu") return swish(x, 1);
  if (name == "quick_gelu") return swish(x, 1.702);
  if (name == "relu") return {std::max(x, 0.0), x > 0};
  if (name == "squared_relu") return {x > 0 ? x * x : 0, x > 0 ? 2 * x : 0};
  if (name == "sigmoid") return {logistic(x), logistic(x) * (1 - logistic(x))};
  if (name == "clamped_silu") {
    const auto [value, slope] = swish(std::min(x, kLimit), kAlpha);
    return {value, x <= kLimit ? slope : 0};
  }
  if (name == "clamped_linear") return {std::clamp(x, -kLimit, kLimit) + kOffset, std::abs(x) <= kLimit};
  return {x, 1};
}

Op gated(const char* name, const Names& names, DType t, int64_t rows, int64_t width, double deviation, bool backward) {
  const int64_t slots = static_cast<int64_t>(names.size());
  Op op(name);
  if (backward) op.input(t, {rows, width});
  op.input(t, {rows, slots, width});
  if (backward) {
    op.output(t, {rows, slots, width}).normal(0);
  } else {
    op.output(t, {rows, width});
  }
  op.texts("activations", names).param("limit", kLimit).param("alpha", kAlpha).param("offset", kOffset);
  op.normal(backward ? 1 : 0, 0, deviation);
  return op;
}

// y, or du when dy is given.
Values oracle(const Names& names, const Values& u, const Values* dy, int64_t rows, int64_t width) {
  const int64_t slots = static_cast<int64_t>(names.size());
  Values result(static_cast<size_t>(dy ? rows * slots * width : rows * width));
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t f = 0; f < width; ++f) {
      const auto at = [&](int64_t a) { return (r * slots + a) * width + f; };
      if (!dy) {
        double y = 1;
        for (int64_t a = 0; a < slots; ++a) y *= exact(names[a], u[at(a)]).first;
        result[r * width + f] = y;
        continue;
      }
      for (int64_t a = 0; a < slots; ++a) {
        double g = (*dy)[r * width + f] * exact(names[a], u[at(a)]).second;
        for (int64_t b = 0; b < slots; ++b) g *= b == a ? 1 : exact(names[b], u[at(b)]).first;
        result[at(a)] = g;
      }
    }
  return result;
}

void check(const Names& names, DType t, int64_t rows, int64_t width, double deviation) {
  std::string what = label(t, {rows, int64_t(names.size()), width});
  for (const std::string& name : names) what += " " + name;
  Op forward = gated("gated_activation", names, t, rows, width, deviation, false);
  forward.run();
  expect_rounded(forward, what, 0, oracle(names, forward.in(0), nullptr, rows, width));
  Op backward = gated("gated_activation_backward", names, t, rows, width, deviation, true);
  backward.run();
  const Values dy = backward.in(0);
  expect_rounded(backward, what, 0, oracle(names, backward.in(1), &dy, rows, width));
}

void check_quantize(const Names& names, DType t, DType q, int64_t width) {
  Op op("gated_activation_quantize");
  const int64_t rows = 37, slots = static_cast<int64_t>(names.size());
  op.input(t, {rows, slots, width}).input(DType::float32, {1}).output(q, {rows, width}).output(DType::float32, {1});
  op.texts("activations", names).param("dtype", dtype_name(q)).normal(0).fill(1, [](int64_t) { return 37.0f; });
  op.run();
  Values y = oracle(names, op.in(0), nullptr, rows, width);
  double amax = 0;
  std::vector<float> scaled(y.size());
  for (size_t i = 0; i < y.size(); ++i) amax = std::max(amax, std::abs(y[i])), scaled[i] = float(y[i] * 37);
  expect_norms(op, "amax", 1, {amax}, 1e-6, 1e-6);
  round_to_float8(q, scaled);
  expect_codes_close(op, "quantized", 0, scaled);
}

void check_special() {
  for (DType t : {DType::float32, DType::bfloat16})
    for (const char* name :
         {"gelu", "silu", "relu", "quick_gelu", "squared_relu", "sigmoid", "linear", "clamped_silu"}) {
      Op op = gated("gated_activation", {name}, t, 1, 6, 1, false);
      const float values[] = {NAN, HUGE_VALF, 0, 1e30f, -1e30f, -100};
      op.fill(0, [&](int64_t i) { return values[i]; }).run();
      const Values y = op.out(0);
      expect(std::isnan(y[0]), std::string(name) + " keeps NaN");
      expect(y[3] > 0 && !std::isnan(y[4]) && std::abs(y[5]) < 101 && (name[0] == 'l' || y[4] >= -1),
             std::string(name) + " far out");
    }
}

}  // namespace

int main() {
  const Names singles = {"gelu",    "silu",   "relu",         "quick_gelu",    "squared_relu",
                         "sigmoid", "linear", "clamped_silu", "clamped_linear"};
  for (DType t : kFloats) {
    for (const std::string& name : singles) {
      check({name}, t, 5, 1033, 1);
      check({name}, t, 3, 257, 4);
      check({name, "linear"}, t, 3, 257, 1);
    }
    for (int64_t width : kWidths) check({"silu", "linear"}, t, 7, width, 1);
    check({"clamped_silu", "clamped_linear"}, t, 8, 100, 2);
    check({"relu", "relu"}, t, 2, 2500, 1);
    check({"gelu", "silu", "linear"}, t, 9, 1025, 1);
    gated("gated_activation", {"gelu"}, t, 0, 8, 1, false).run();
    for (DType q : {DType::float8_e4m3fn, DType::float8_e5m2}) {
      check_quantize({"gelu"}, t, q, 257);
      check_quantize({"silu", "linear"}, t, q, 768);
    }
  }
  check_special();
  expect(gated("gated_activation", {"swish"}, DType::float32, 2, 8, 1, false).declined() != "", "unknown activation");
  for (DType t : {DType::float32, DType::bfloat16})
    for (const Names& names : {Names{"gelu"}, Names{"silu", "linear"}, Names{"relu"}})
      for (int64_t rows : {2048, 256}) {
        Op forward = gated("gated_activation", names, t, rows, 2048, 1, false);
        race(forward, names[0] + " " + label(t, forward.node.inputs[0].shape));
        Op backward = gated("gated_activation_backward", names, t, rows, 2048, 1, true);
        race(backward, names[0] + " " + label(t, forward.node.inputs[0].shape));
      }
  return failures();
}
