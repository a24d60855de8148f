// dot and scaled_dot against a loop in double precision; with an argument, their speed.
#include <array>

#include "cpu/gemm/bfloat16_unit.h"
#include "test/harness.h"

using namespace te;
using test::Op;

namespace {

struct Axes {
  std::vector<double> lhs_contract, rhs_contract, lhs_batch, rhs_batch;
};

bool holds(const std::vector<double>& list, size_t axis) {
  return std::find(list.begin(), list.end(), static_cast<double>(axis)) != list.end();
}

// The numbers of an operand in the order batch, free, contracted.
std::vector<double> ordered(const std::vector<double>& x, const Shape& shape, const std::vector<double>& batch,
                            const std::vector<double>& contract, Shape* free) {
  std::vector<size_t> order;
  for (double axis : batch) order.push_back(static_cast<size_t>(axis));
  for (size_t i = 0; i < shape.size(); ++i) {
    if (holds(batch, i) || holds(contract, i)) continue;
    order.push_back(i);
    free->push_back(shape[i]);
  }
  for (double axis : contract) order.push_back(static_cast<size_t>(axis));
  Shape step(shape.size(), 1), index(shape.size(), 0);
  for (size_t i = shape.size(); i-- > 1;) step[i - 1] = step[i] * shape[i];
  std::vector<double> y(x.size());
  for (double& value : y) {
    int64_t from = 0;
    for (size_t i = 0; i < shape.size(); ++i) from += index[i] * step[i];
    value = x[static_cast<size_t>(from)];
    for (size_t i = order.size(); i-- > 0 && ++index[order[i]] == shape[order[i]];) index[order[i]] = 0;
  }
  return y;
}

// y[batch..., lhs free..., rhs free...] by the definition.
std::vector<double> definition(const Op& op, const Axes& axes, double scale, int bias_at, Shape* shape) {
  const Shape &a = op.node.inputs[0].shape, &b = op.node.inputs[1].shape;
  Shape a_free, b_free;
  const std::vector<double> x = ordered(op.in(0), a, axes.lhs_batch, axes.lhs_contract, &a_free);
  const std::vector<double> y = ordered(op.in(1), b, axes.rhs_batch, axes.rhs_contract, &b_free);
  const std::vector<double> bias = bias_at ? op.in(bias_at) : std::vector<double>{};
  for (double axis : axes.lhs_batch) shape->push_back(a[static_cast<size_t>(axis)]);
  const int64_t batches = count(*shape), m = count(a_free), n = count(b_free);
  int64_t depth = 1;
  for (double axis : axes.lhs_contract) depth *= a[static_cast<size_t>(axis)];
  shape->insert(shape->end(), a_free.begin(), a_free.end());
  shape->insert(shape->end(), b_free.begin(), b_free.end());
  std::vector<double> result;
  for (int64_t row = 0; row < batches * m; ++row) {
    for (int64_t j = 0; j < n; ++j) {
      const double* left = x.data() + row * depth;
      const double* right = y.data() + (row / m * n + j) * depth;
      double sum = 0;
      for (int64_t k = 0; k < depth; ++k) sum += left[k] * right[k];
      result.push_back(sum * scale + (bias_at ? bias[static_cast<size_t>(j)] : 0));
    }
  }
  return result;
}

// N and X of the conformance tables: relative errors in the 2-norm and of the largest element.
void expect_near(const std::string& what, const Op& op, const std::vector<double>& wanted) {
  const std::vector<double> got = op.out(0);
  const DType dtype = op.node.outputs[0].dtype;
  const double limit_n = dtype == DType::float32 ? 2e-6 : dtype == DType::bfloat16 ? 3e-3 : 4e-4;
  const double limit_x = dtype == DType::float32 ? 1e-5 : dtype == DType::bfloat16 ? 1e-2 : 2e-3;
  double difference = 0, norm = 0, worst = 0, largest = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    difference += (got[i] - wanted[i]) * (got[i] - wanted[i]);
    norm += wanted[i] * wanted[i];
    worst = std::max(worst, std::abs(got[i] - wanted[i]));
    largest = std::max(largest, std::abs(wanted[i]));
  }
  const bool empty = norm == 0 && difference == 0;
  const double n = empty ? 0 : std::sqrt(difference / norm), x = empty ? 0 : worst / largest;
  char text[240];
  std::snprintf(text, sizeof text, "%s: N %.2e X %.2e", what.c_str(), n, x);
  test::expect(got.size() == wanted.size() && n <= limit_n && x <= limit_x, text);
}

std::string name_of(const Shape& shape) {
  std::string text = "[";
  for (int64_t d : shape) text += std::to_string(d) + " ";
  return text + "]";
}

void check(DType a, DType b, DType out, const Shape& a_shape, const Shape& b_shape, const Axes& axes, bool bias) {
  const bool scaled = is_float8(a);
  Op op(scaled ? "scaled_dot" : "dot");
  op.input(a, a_shape).input(b, b_shape);
  op.normal(0).normal(1);
  double scale = 1;
  if (scaled) {
    op.input(DType::float32, {1}).input(DType::float32, {1});
    op.fill(2, [](int64_t) { return 0.37f; }).fill(3, [](int64_t) { return 1.9f; });
    scale = static_cast<double>(0.37f * 1.9f);
  }
  int64_t columns = 1;
  for (size_t i = 0; i < b_shape.size(); ++i) {
    if (!holds(axes.rhs_contract, i) && !holds(axes.rhs_batch, i)) columns *= b_shape[i];
  }
  if (bias)
    op.input(out, {columns}).normal(scaled ? 4 : 2);
  else
    op.absent();
  op.param("lhsContract", axes.lhs_contract).param("rhsContract", axes.rhs_contract);
  op.param("lhsBatch", axes.lhs_batch).param("rhsBatch", axes.rhs_batch).param("dtype", dtype_name(out));
  Shape shape;
  const std::vector<double> wanted = definition(op, axes, scale, bias ? (scaled ? 4 : 2) : 0, &shape);
  op.output(out, shape);
  const std::string what = std::string(dtype_name(a)) + " " + name_of(a_shape) + " " + dtype_name(b) + " " +
                           name_of(b_shape) + (bias ? " + bias" : "");
  try {
    op.run();
    expect_near(what, op, wanted);
    const std::vector<double> first = op.out(0);
    op.run();
    test::expect(first == op.out(0), what + " gives the same bits again");
  } catch (const Error& error) {
    test::expect(false, what + ": " + error.what());
  }
}

// G01, G03: all four layouts.
void check_layouts(DType a, DType b, DType out, int64_t m, int64_t n, int64_t k, bool bias = false) {
  check(a, b, out, {m, k}, {k, n}, {{1}, {0}, {}, {}}, bias);
  check(a, b, out, {m, k}, {n, k}, {{1}, {1}, {}, {}}, bias);
  check(a, b, out, {k, m}, {k, n}, {{0}, {0}, {}, {}}, bias);
  check(a, b, out, {k, m}, {n, k}, {{0}, {1}, {}, {}}, bias);
}

void check_integers() {
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{5, 3, 7}, {19, 300, 517}, {1, 1, 1}}) {
    for (double left : {0, 1}) {
      for (double right : {0, 1}) {
        Op op("dot");
        op.input(DType::int32, left ? Shape{m, k} : Shape{k, m}).input(DType::int32, right ? Shape{n, k} : Shape{k, n});
        op.absent().param("lhsContract", std::vector<double>{left}).param("rhsContract", std::vector<double>{right});
        for (int i = 0; i < 2; ++i)
          for (int64_t j = 0; j < op.node.inputs[i].size(); ++j)
            op.inputs[i].as<int32_t>()[j] = static_cast<int32_t>(j * 37 % 19 - 9);
        Shape shape;
        const std::vector<double> wanted = definition(op, {{left}, {right}, {}, {}}, 1, 0, &shape);
        op.output(DType::int32, shape).run();
        op.expect_close("int32", 0, wanted, 0, 0);
      }
    }
  }
}

// Which way each product takes. Integers, small products and large ones have their own; large products of operands that
// bfloat16 holds exactly are multiplied in it where `native`.
void check_paths(bool native) {
  const DType f32 = DType::float32, bf16 = DType::bfloat16, f16 = DType::float16;
  const auto path = [](DType t, int64_t m, int64_t n, int64_t k, bool ta, bool tb) {
    const bool scaled = is_float8(t);
    Op op(scaled ? "scaled_dot" : "dot");
    op.input(t, ta ? Shape{k, m} : Shape{m, k}).input(t, tb ? Shape{n, k} : Shape{k, n});
    if (scaled) op.input(DType::float32, {1}).input(DType::float32, {1});
    op.absent().output(scaled ? DType::bfloat16 : t, {m, n});
    op.param("lhsContract", std::vector<double>{ta ? 0.0 : 1.0});
    op.param("rhsContract", std::vector<double>{tb ? 1.0 : 0.0}).param("dtype", dtype_name(op.node.outputs[0].dtype));
    return op.path();
  };
  const auto starts = [&](DType t, int64_t m, int64_t n, int64_t k, const std::string& wanted) {
    for (bool ta : {false, true}) {
      for (bool tb : {false, true}) {
        const std::string got = path(t, m, n, k, ta, tb);
        test::expect(got.rfind(wanted, 0) == 0, std::string(dtype_name(t)) + ": " + got + ", wanted " + wanted);
      }
    }
  };
  for (DType t : {f32, bf16, f16, DType::float8_e4m3fn}) {
    const bool exact = t != f32 && t != f16;
    starts(t, 4, 128, 256, "gemv");
    starts(t, 128, 4, 256, "gemv");
    starts(t, 128, 256, 256, exact && native ? "packed bfloat16 " : "packed float32");
    starts(t, 300, 700, 1100, exact && native ? "packed bfloat16 " : "packed float32");
  }
  test::expect(path(DType::int32, 8, 8, 8, false, false) == "integers by columns", "int32 by columns");
  test::expect(path(DType::uint8, 8, 8, 8, false, true) == "integers by depth", "uint8 by depth");
}

void check_non_finite() {
  Op op("dot");
  op.input(DType::float32, {70, 70}).input(DType::float32, {70, 90}).absent().output(DType::float32, {70, 90});
  op.normal(0).normal(1);
  op.inputs[0].as<float>()[3 * 70 + 5] = NAN;
  op.param("lhsContract", std::vector<double>{1}).param("rhsContract", std::vector<double>{0});
  op.run();
  const std::vector<double> y = op.out(0);
  bool right = true;
  for (int64_t i = 0; i < 70 * 90; ++i) right = right && std::isnan(y[static_cast<size_t>(i)]) == (i / 90 == 3);
  test::expect(right, "a NaN reaches its own row and no other");
}

// `narrow`: only what a unit of bfloat16 multiplies.
void check_all(bool narrow) {
  const DType f32 = DType::float32, bf16 = DType::bfloat16, f16 = DType::float16;
  const DType e4m3 = DType::float8_e4m3fn, e5m2 = DType::float8_e5m2;
  for (DType t : {f32, bf16, f16}) {
    if (narrow && t != bf16) continue;
    check_layouts(t, t, t, 64, 32, 64);
    check_layouts(t, t, t, 32, 32, 32);
    check_layouts(t, t, t, 130, 200, 117, true);
    check_layouts(t, t, f32, 96, 80, 33);
    for (int64_t m : {1, 3, 8}) {
      check_layouts(t, t, t, m, 70, 95, true);
      check_layouts(t, t, t, 70, m, 95, true);
    }
    check_layouts(t, t, t, 1, 1, 1000);
    check_layouts(t, t, t, 5, 6, 0, true);
    check_layouts(t, t, t, 0, 6, 4);
    check_layouts(t, t, t, 9, 0, 4);
    check_layouts(t, t, t, 9, 17, 1);
    // Attention's products, heads between the rows; fused projections; batches that are not outermost.
    check(t, t, t, {2, 33, 3, 16}, {2, 29, 3, 16}, {{3}, {3}, {0, 2}, {0, 2}}, false);
    check(t, t, t, {2, 3, 33, 29}, {2, 29, 3, 16}, {{3}, {1}, {0, 1}, {0, 2}}, false);
    check(t, t, t, {120, 16, 16}, {120, 16, 16}, {{2}, {1}, {0}, {0}}, false);
    check(t, t, t, {4, 12, 48}, {48, 3, 40}, {{2}, {0}, {}, {}}, true);
    check(t, t, t, {4, 12, 3, 40}, {48, 3, 40}, {{2, 3}, {1, 2}, {}, {}}, false);
    check(t, t, t, {4, 12, 48}, {4, 12, 3, 40}, {{0, 1}, {0, 1}, {}, {}}, false);
    check(t, t, t, {4, 48, 12}, {40, 4, 12}, {{0, 2}, {1, 2}, {}, {}}, false);
    check(t, t, t, {30, 40, 5}, {40, 20, 5}, {{1}, {0}, {2}, {2}}, false);
    check(t, t, t, {6, 7}, {3, 4}, {{}, {}, {}, {}}, false);
  }
  if (!narrow) {
    check_layouts(f32, f32, f32, 256, 256, 512);
    check_layouts(f32, f32, f32, 2070, 40, 1030, true);  // several tiles in every direction
    check_layouts(f32, f32, f32, 70, 2070, 530);
  }
  check_layouts(bf16, bf16, bf16, 9000, 20, 530);  // more packed rows than a block holds
  check_layouts(bf16, bf16, bf16, 256, 256, 512, true);
  check_layouts(bf16, f32, f32, 100, 90, 80);
  for (const auto& [a, b] : {std::pair{e4m3, e4m3}, {e4m3, e5m2}, {e5m2, e4m3}}) {
    for (DType out : {f32, bf16, f16}) check_layouts(a, b, out, 100, 144, 131, out == bf16);
    check_layouts(a, b, bf16, 4, 100, 96, true);
    check_layouts(a, b, f32, 20, 20, 20);
  }
}

void speed(DType t, int64_t m, int64_t n, int64_t k, const char* layout, const char* what) {
  const bool scaled = is_float8(t), ta = layout[0] == 't', tb = layout[1] == 't';
  const DType out = scaled ? DType::bfloat16 : t;
  Op op(scaled ? "scaled_dot" : "dot");
  op.input(t, ta ? Shape{k, m} : Shape{m, k}).input(t, tb ? Shape{n, k} : Shape{k, n}).normal(0).normal(1);
  if (scaled) op.input(DType::float32, {1}).input(DType::float32, {1}).uniform(2, 1, 2).uniform(3, 1, 2);
  op.absent().output(out, {m, n});
  op.param("lhsContract", std::vector<double>{ta ? 0.0 : 1.0})
      .param("rhsContract", std::vector<double>{tb ? 1.0 : 0.0});
  op.param("dtype", dtype_name(out));
  char text[100];
  std::snprintf(text, sizeof text, "%s %s %s", dtype_name(t), layout, what);
  op.time(text, op.bytes(), 2.0 * static_cast<double>(m * n * k));
}

}  // namespace

int main(int argc, char**) {
  if (argc > 1) {
    for (DType t : {DType::float32, DType::bfloat16, DType::float8_e4m3fn}) {
      speed(t, 1024, 1024, 1024, "nn", "1024^3");
      speed(t, 2048, 1536, 512, "nn", "2048x512x1536");
      speed(t, 2048, 512, 1536, "nt", "2048x1536x512 dgrad");
      speed(t, 512, 1536, 2048, "tn", "512x2048x1536 wgrad");
    }
    return test::failures();
  }
  check_integers();
  check_non_finite();
  check_paths(bfloat16_unit() != nullptr);
  for (const char* unit : {"amx", "avx512_bf16", "neon_bf16", "portable"}) {
    if (!force_bfloat16_unit(unit)) continue;
    check_all(true);
    check_paths(true);
  }
  force_bfloat16_unit("none");
  check_all(false);
  check_paths(false);
  return test::failures();
}
