// N01: layer and RMS norm, forward and backward, against double-precision loops.
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

struct Oracle {
  Values y, mean, rstd, dx, dgamma, dbeta;
};

// Forward and backward of one norm in double. beta empty: RMS.
Oracle norm_oracle(const Values& x, const Values& gamma, const Values& beta, const Values& dy, double epsilon,
                   bool zero_centered) {
  const bool layer = !beta.empty();
  const size_t n = gamma.size(), rows = x.size() / n;
  Oracle o{Values(x.size()), Values(rows), Values(rows), Values(x.size()), Values(n), Values(n)};
  for (size_t r = 0; r < rows; ++r) {
    const double *row = &x[r * n], *g = &dy[r * n];
    double mean = 0, square = 0, a1 = 0, a2 = 0;
    for (size_t i = 0; layer && i < n; ++i) mean += row[i] / double(n);
    for (size_t i = 0; i < n; ++i) square += (row[i] - mean) * (row[i] - mean) / double(n);
    const double rstd = 1 / std::sqrt(square + epsilon);
    o.mean[r] = mean;
    o.rstd[r] = rstd;
    for (size_t i = 0; i < n; ++i) {
      const double scale = gamma[i] + (zero_centered ? 1 : 0), xhat = (row[i] - mean) * rstd;
      o.y[r * n + i] = xhat * scale + (layer ? beta[i] : 0);
      a1 += layer ? g[i] * scale / double(n) : 0;
      a2 += g[i] * scale * xhat / double(n);
      o.dgamma[i] += g[i] * xhat;
      o.dbeta[i] += g[i];
    }
    for (size_t i = 0; i < n; ++i) {
      const double scale = gamma[i] + (zero_centered ? 1 : 0), xhat = (row[i] - mean) * rstd;
      o.dx[r * n + i] = rstd * (g[i] * scale - a1 - xhat * a2);
    }
  }
  return o;
}

struct Setup {
  bool layer;
  DType x, gamma;
  Shape shape;
  double epsilon = 1e-6;
  bool zero_centered = false;
  double mean = 0.3, deviation = 1;
  Shape rows() const { return Shape(shape.begin(), shape.end() - 1); }
  Shape width() const { return {shape.back()}; }
};

Op forward_op(const Setup& s) {
  Op op(s.layer ? "layer_norm" : "rms_norm");
  op.input(s.x, s.shape).input(s.gamma, s.width());
  if (s.layer) op.input(s.gamma, s.width());
  op.output(s.x, s.shape);
  if (s.layer) op.output(DType::float32, s.rows());
  op.output(DType::float32, s.rows()).param("epsilon", s.epsilon).param("zeroCenteredGamma", s.zero_centered);
  if (count(s.shape) == 0) return op;
  op.normal(0, s.mean, s.deviation).normal(1, s.zero_centered ? 0 : 1, 0.3);
  if (s.layer) op.normal(2, 0, 0.5);
  return op;
}

Op backward_op(const Setup& s, const Op& forward, const Oracle* o) {
  Op op(s.layer ? "layer_norm_backward" : "rms_norm_backward");
  op.input(s.x, s.shape).input(s.x, s.shape).input(s.gamma, s.width());
  for (int i = 0; i < (s.layer ? 2 : 1); ++i) op.input(DType::float32, s.rows());
  op.output(s.x, s.shape);
  for (int i = 0; i < (s.layer ? 2 : 1); ++i) op.output(s.gamma, s.width());
  op.param("zeroCenteredGamma", s.zero_centered).normal(0);
  const Values x = forward.in(0), gamma = forward.in(1);
  op.fill(1, [&](int64_t i) { return float(x[i]); }).fill(2, [&](int64_t i) { return float(gamma[i]); });
  const int rstd = s.layer ? 4 : 3;
  if (!o) return op;
  if (s.layer) op.fill(3, [&](int64_t i) { return float(o->mean[i]); });
  op.fill(rstd, [&](int64_t i) { return float(o->rstd[i]); });
  return op;
}

void check(const Setup& s) {
  Op forward = forward_op(s);
  const Values x = forward.in(0), gamma = forward.in(1), beta = s.layer ? forward.in(2) : Values();
  Values dy(x.size());
  Oracle o = norm_oracle(x, gamma, beta, dy, s.epsilon, s.zero_centered);
  Op backward = backward_op(s, forward, &o);
  o = norm_oracle(x, gamma, beta, backward.in(0), s.epsilon, s.zero_centered);
  forward.run();
  backward.run();
  const std::string what = label(s.x, s.shape) + (s.zero_centered ? " zero-centred" : "");
  expect_rounded(forward, what, 0, o.y);
  if (s.layer) expect_norms(forward, what, 1, o.mean, 2e-6, 1e-5);
  expect_norms(forward, what, s.layer ? 2 : 1, o.rstd, 2e-6, 1e-5);
  // Of a single column xhat is 0 or ±1 and dx is what rounding leaves: nothing to compare with.
  if (s.shape.back() > 1) expect_rounded(backward, what, 0, o.dx);
  const double limit = s.gamma == DType::float32 ? 2e-6 : 4e-3;
  if (s.shape.back() > 1) expect_norms(backward, what, 1, o.dgamma, limit, 5 * limit);
  if (s.layer) expect_norms(backward, what, 2, o.dbeta, limit, 5 * limit);
}

void check_all(bool layer) {
  for (DType t : kFloats) {
    for (int64_t width : kWidths) check({layer, t, t, {37, width}});
    check({layer, t, DType::float32, {2, 3, 5, 257}});
    check({layer, t, t, {768}});
    check({layer, t, t, {256, 128}, 1e-2, layer});
    check({layer, t, t, {71, 229}, 1e-6, layer});
    check({layer, t, t, {29, 541}, 1e-2});
    check({layer, t, t, {768, 1536}, 1e-6});
    check({layer, t, t, {3, 70000}});
    for (const Shape& empty : {Shape{0, 8}, Shape{3, 0}}) {
      Op op = forward_op({layer, t, t, empty});
      op.run();
    }
  }
  // Mean much larger than the deviation.
  check({layer, DType::float32, DType::float32, {64, 1024}, 1e-6, false, 1e4, 1});
}

// A row without NaN must not notice one in another row; its own row becomes NaN.
void check_nan(bool layer) {
  Op op = forward_op({layer, DType::bfloat16, DType::bfloat16, {4, 100}});
  const Values x = op.in(0);
  op.fill(0, [&](int64_t i) { return i == 150 ? NAN : i == 250 ? HUGE_VALF : float(x[i]); });
  op.run();
  const Values y = op.out(0);
  for (size_t i = 0; i < y.size(); ++i) {
    const bool wanted = i / 100 == 1 || (i / 100 == 2 && (layer || i == 250));
    expect(std::isnan(y[i]) == wanted, "NaN stays in its row, element " + std::to_string(i));
  }
}

// N03: the float32 result of the norm, quantized at once.
void check_quantize(bool layer, DType t, DType q, const Shape& shape) {
  const Setup s{layer, t, t, shape, 1e-3, layer};
  Op plain = forward_op({layer, t, t, shape, 1e-3, layer});
  Op op(layer ? "layer_norm_quantize" : "rms_norm_quantize");
  op.input(t, s.shape).input(t, s.width());
  if (layer) op.input(t, s.width());
  op.input(DType::float32, {1}).output(q, shape).output(DType::float32, {1});
  if (layer) op.output(DType::float32, s.rows());
  op.output(DType::float32, s.rows()).param("epsilon", s.epsilon).param("dtype", dtype_name(q));
  if (layer) op.param("zeroCenteredGamma", true);
  const int scale = layer ? 3 : 2;
  for (int i = 0; i < scale; ++i) std::memcpy(op.inputs[i].as(), plain.inputs[i].as(), op.inputs[i].size);
  op.fill(scale, [](int64_t) { return 77.0f; }).run();
  const Values x = op.in(0), beta = layer ? op.in(2) : Values();
  const Oracle o = norm_oracle(x, op.in(1), beta, Values(x.size()), s.epsilon, layer);
  double amax = 0;
  std::vector<float> scaled;
  for (double y : o.y) amax = std::max(amax, std::abs(y)), scaled.push_back(float(y * 77));
  round_to_float8(q, scaled);
  expect_codes_close(op, label(t, shape) + " " + dtype_name(q), 0, scaled);
  expect_norms(op, "amax", 1, {amax}, 1e-6, 1e-6);
  expect_norms(op, "rstd", layer ? 3 : 2, o.rstd, 2e-6, 1e-5);
}

// NaN and infinity show in amax; an infinite result is clipped, NaN stays.
void check_quantize_special() {
  Op op("rms_norm_quantize");
  op.input(DType::float32, {2, 4}).input(DType::float32, {4}).input(DType::float32, {1});
  op.output(DType::float8_e4m3fn, {2, 4}).output(DType::float32, {1}).output(DType::float32, {2});
  op.param("dtype", "float8_e4m3fn").fill(2, [](int64_t) { return 1.0f; });
  op.fill(0, [](int64_t i) { return float(i); }).fill(1, [](int64_t i) { return i == 1 ? HUGE_VALF : 1.0f; }).run();
  expect(std::isinf(op.out(1)[0]) && op.out(0)[1] == 448, "infinite amax");
  op.fill(0, [](int64_t i) { return i == 2 ? NAN : float(i); }).run();
  expect(std::isnan(op.out(1)[0]) && std::isnan(op.out(0)[2]), "NaN amax");

  // What is computed behind the end of a row does not show, even where it overflows.
  Op large("layer_norm_quantize");
  large.input(DType::bfloat16, {2, 33}).input(DType::bfloat16, {33}).input(DType::bfloat16, {33});
  large.input(DType::float32, {1}).output(DType::float8_e4m3fn, {2, 33}).output(DType::float32, {1});
  large.output(DType::float32, {2}).output(DType::float32, {2}).param("dtype", "float8_e4m3fn");
  for (int i = 0; i < 4; ++i) large.fill(i, [=](int64_t) { return i == 0 ? 5e36f : 1.0f; });
  large.run();
  expect(large.out(1)[0] == 1 && large.out(0)[32] == 1, "a row of large numbers");
}

// The same bits whatever the number of threads.
void check_threads() {
  const Setup s{true, DType::float32, DType::float32, {1000, 257}};
  const int before = num_threads();
  Values first;
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    Op forward = forward_op(s);
    Op backward = backward_op(s, forward, nullptr);
    backward.normal(3).uniform(4, 0.5, 1).run();
    if (first.empty()) first = backward.out(1);
    expect_exact(backward, std::to_string(threads) + " threads", 1, first);
  }
  set_num_threads(before);
}

}  // namespace

int main() {
  for (bool layer : {true, false}) {
    check_all(layer);
    check_nan(layer);
  }
  for (bool layer : {true, false})
    for (DType t : kFloats)
      for (DType q : {DType::float8_e4m3fn, DType::float8_e5m2})
        for (const Shape& shape : {Shape{3, 33}, Shape{64, 768}, Shape{20, 3000}}) check_quantize(layer, t, q, shape);
  check_quantize_special();
  check_threads();
  for (bool layer : {true, false})
    for (DType t : {DType::float32, DType::bfloat16})
      for (const Shape& shape : {Shape{8192, 768}, Shape{4096, 4096}, Shape{256, 768}}) {
        const Setup s{layer, t, t, shape};
        Op forward = forward_op(s);
        race(forward, label(t, shape));
        Op backward = backward_op(s, forward, nullptr);
        if (layer) backward.normal(3);
        backward.uniform(layer ? 4 : 3, 0.5, 1);
        race(backward, label(t, shape));
      }
  return failures();
}
