// Gated activations of any number of slots: rows that are octets, odd rows, and the quantizing form, against float64.
#include <cmath>
#include <random>

#include "cuda/values.cuh"
#include "run_node.h"

using namespace te;
using namespace te::test;

using Names = std::vector<std::string>;

double logistic(double x) { return 1 / (1 + std::exp(-x)); }
double value(const std::string& name, double x) {
  if (name == "gelu") return x * logistic(2 * std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x));
  if (name == "silu") return x * logistic(x);
  if (name == "relu") return std::max(x, 0.0);
  return x;
}
double slope(const std::string& name, double x) {
  const double h = 1e-6;
  return name == "relu" ? x > 0 : (value(name, x + h) - value(name, x - h)) / (2 * h);
}

void check(DType type, int64_t rows, int64_t width, const Names& names) {
  const int64_t slots = static_cast<int64_t>(names.size());
  const std::string title = std::string(dtype_name(type)) + ", " + std::to_string(slots) + " slots, " +
                            std::to_string(rows) + " rows of " + std::to_string(width);
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  const auto draw = [&](int64_t n) {
    Bytes bytes(static_cast<size_t>(n) * dtype_bytes(type));
    for (int64_t i = 0; i < n; ++i) cuda::store_real(type, bytes.data(), i, normal(random));
    return bytes;
  };
  const Bytes u = draw(rows * slots * width), dy = draw(rows * width);
  Node forward, backward, quantizing;
  forward.op = "gated_activation", backward.op = "gated_activation_backward",
  quantizing.op = "gated_activation_quantize";
  for (Node* node : {&forward, &backward, &quantizing}) node->params.set("activations", names);
  const Aval in{{rows, slots, width}, type}, out{{rows, width}, type}, one{{1}, DType::float32};
  forward.inputs = {in}, forward.outputs = {out};
  backward.inputs = {out, in}, backward.outputs = {{in.shape, DType::float32}};
  backward.params.set("wide", true);
  quantizing.inputs = {in, one}, quantizing.outputs = {{out.shape, DType::float8_e4m3fn}, one};
  const Bytes y = run_node(forward, {u})[0], du = run_node(backward, {dy, u})[0];
  const std::vector<Bytes> q = run_node(quantizing, {u, bytes_of<float>({20})});
  bool values = true, slopes = true, codes = true;
  double most = 0;
  const double limit = type == DType::float32 ? 2e-6 : 5e-3;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < width; ++c) {
      const auto x = [&](int64_t a) {
        return static_cast<double>(cuda::load_real(type, u.data(), (r * slots + a) * width + c));
      };
      double product = 1;
      for (int64_t a = 0; a < slots; ++a) product *= value(names[static_cast<size_t>(a)], x(a));
      most = std::max(most, std::fabs(product));
      const int64_t at = r * width + c;
      values =
          values && std::fabs(cuda::load_real(type, y.data(), at) - product) <= limit * (1e-3 + std::fabs(product));
      const float code = cuda::load_real(DType::float8_e4m3fn, q[0].data(), at);
      codes =
          codes && std::fabs(code - std::clamp(20 * product, -448.0, 448.0)) <= 0.0627 * std::fabs(20 * product) + 1e-3;
      for (int64_t a = 0; a < slots; ++a) {
        double gradient = cuda::load_real(type, dy.data(), at) * slope(names[static_cast<size_t>(a)], x(a));
        for (int64_t b = 0; b < slots; ++b)
          if (b != a) gradient *= value(names[static_cast<size_t>(b)], x(b));
        const float got = values_of<float>(du)[static_cast<size_t>((r * slots + a) * width + c)];
        slopes = slopes && std::fabs(got - gradient) <= 1e-5 * (1e-2 + std::fabs(gradient));
      }
    }
  expect(values, title + ": values");
  expect(slopes, title + ": gradients");
  expect(codes, title + ": codes");
  expect(std::fabs(values_of<float>(q[1])[0] - most) <= 1e-5 * most, title + ": amax");
}

// The forms that write codes, in both orders, against those that write numbers, and quantize.
void check_codes(DType type, DType q_type, Shape shape, size_t row_axes, const Names& names) {
  const int64_t slots = static_cast<int64_t>(names.size()), width = shape.back(), rows = count(shape) / width;
  const std::string title = std::string(dtype_name(type)) + ", " + std::to_string(slots) + " slots, codes of " +
                            std::to_string(rows) + " rows of " + std::to_string(width);
  std::mt19937 random(9);
  std::normal_distribution<float> normal;
  const auto draw = [&](int64_t n) {
    Bytes bytes(static_cast<size_t>(n) * dtype_bytes(type));
    for (int64_t i = 0; i < n; ++i) cuda::store_real(type, bytes.data(), i, normal(random));
    return bytes;
  };
  const Aval y{shape, type}, one{{1}, DType::float32};
  Shape with_slots = shape;
  with_slots.insert(with_slots.end() - 1, slots);
  const Bytes u = draw(rows * slots * width), dy = draw(rows * width), scale = bytes_of<float>({25});
  for (const bool backward : {false, true}) {
    const Shape& result = backward ? with_slots : shape;
    Bytes wide_u(static_cast<size_t>(rows * slots * width) * 4);
    for (int64_t i = 0; i < rows * slots * width; ++i)
      cuda::store_real(DType::float32, wide_u.data(), i, cuda::load_real(type, u.data(), i));
    Node wide, quantize, fused;
    wide.op = backward ? "gated_activation_backward" : "gated_activation";
    wide.inputs = backward ? std::vector<Aval>{y, {with_slots, type}} : std::vector<Aval>{{with_slots, DType::float32}};
    wide.outputs = {{result, DType::float32}};
    wide.params.set("activations", names);
    quantize.op = "quantize";
    quantize.inputs = {wide.outputs[0], one}, quantize.outputs = {{result, q_type}, one};
    const Bytes values = run_node(wide, backward ? std::vector<Bytes>{dy, u} : std::vector<Bytes>{wide_u})[0];
    const std::vector<Bytes> expected = run_node(quantize, {values, scale});
    fused.op = wide.op + "_quantize";
    fused.inputs =
        backward ? std::vector<Aval>{y, {with_slots, type}, one} : std::vector<Aval>{{with_slots, type}, one};
    fused.outputs = quantize.outputs;
    fused.params.set("activations", names);
    const std::vector<Bytes> inputs = backward ? std::vector<Bytes>{dy, u, scale} : std::vector<Bytes>{u, scale};
    expect(run_node(fused, inputs) == expected, title + (backward ? ": gradients" : ": values"));
    int64_t lead = 1;
    for (size_t d = 0; d < row_axes; ++d) lead *= result[d];
    const int64_t rest = count(result) / lead;
    if (lead % 16 || rest % 16 || width % 16) continue;
    fused.op += "_transposed";
    fused.outputs.push_back({{rest, lead}, q_type});
    const std::vector<Bytes> both = run_node(fused, inputs);
    expect(both[0] == expected[0] && both[1] == expected[1], title + ": the same beside a transposed copy");
    bool turned = true;
    for (int64_t r = 0; r < lead; ++r)
      for (int64_t c = 0; c < rest; ++c)
        turned = turned && both[2][static_cast<size_t>(c * lead + r)] == both[0][static_cast<size_t>(r * rest + c)];
    expect(turned, title + ": transposed");
  }
}

int main() {
  for (const DType type : {DType::float32, DType::bfloat16, DType::float16})
    for (const Names& names : {Names{"gelu"}, {"silu", "linear"}, {"sigmoid", "silu", "clamped_linear"}}) {
      check_codes(type, DType::float8_e4m3fn, {4, 32, 80}, 2, names);
      check_codes(type, DType::float8_e5m2, {16, 3, 48}, 1, names);
      check_codes(type, DType::float8_e5m2, {3, 5, 27}, 2, names);
    }

  for (const DType type : {DType::float32, DType::bfloat16, DType::float16})
    for (const Names& names : {Names{"gelu"}, {"silu", "linear"}, {"relu", "silu", "gelu"}})
      for (const auto& [rows, width] : {std::pair<int64_t, int64_t>{3, 64}, {5, 33}, {1, 4}, {2, 1000}})
        check(type, rows, width, names);
  return failures ? 1 : 0;
}
