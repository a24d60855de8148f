// Reductions and argmax over every set of axes, against loops over multi-indices.
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

struct Case {
  Shape shape;
  std::vector<double> axes;
};

const std::vector<Case> kCases = {{{}, {}},
                                  {{1}, {0}},
                                  {{768}, {0}},
                                  {{33, 257}, {1}},
                                  {{33, 257}, {0}},
                                  {{3, 31, 5}, {0}},
                                  {{3, 31, 5}, {1}},
                                  {{3, 31, 5}, {2}},
                                  {{3, 31, 5}, {0, 2}},
                                  {{3, 31, 5}, {0, 1, 2}},
                                  {{3, 31, 5}, {}},
                                  {{2, 1, 32, 7}, {1}},
                                  {{2, 3, 4, 5}, {1, 3}},
                                  {{2, 3, 4, 5}, {0, 2}},
                                  {{700, 1500}, {0}},
                                  {{4, 700, 600}, {1}},
                                  {{5000, 3}, {0}},
                                  {{7, 5000}, {1}},
                                  {{3, 0}, {1}},
                                  {{0, 3}, {1}},
                                  {{2, 300, 70}, {0, 1}},
                                  {{40, 2, 900}, {0, 2}},
                                  {{3, 31, 5}, {-1}}};

double combine(const std::string& op, double a, double x) {
  if (op == "reduce_sum") return a + x;
  if (op == "reduce_prod") return a * x;
  if (std::isnan(a) || std::isnan(x)) return NAN;
  return op == "reduce_max" ? std::max(a, x) : std::min(a, x);
}

double initial(const std::string& op, DType t) {
  if (op == "reduce_sum") return 0;
  if (op == "reduce_prod") return 1;
  const double sign = op == "reduce_max" ? -1 : 1;
  if (t == DType::int32) return sign < 0 ? -2147483648.0 : 2147483647.0;
  if (t == DType::uint8) return sign < 0 ? 0 : 255;
  return sign * HUGE_VAL;
}

bool has(const Case& c, size_t axis) {
  for (double a : c.axes)
    if (a == double(axis) || a + double(c.shape.size()) == double(axis)) return true;
  return false;
}

void check(const std::string& name, DType t, const Case& c) {
  Shape kept;
  for (size_t i = 0; i < c.shape.size(); ++i)
    if (!has(c, i)) kept.push_back(c.shape[i]);
  Op op(name);
  op.input(t, c.shape).output(t, kept).param("axes", c.axes).param("keepDims", false);
  if (t == DType::int32) {
    std::mt19937 random(3);
    op.fill(0, [&](int64_t) { return float(int(random() % 3) - 1); });
  } else if (t == DType::uint8) {
    op.fill(0, [&](int64_t i) { return float((i * 7 + 3) % 256); });
  } else {
    op.uniform(0, 0.95, 1.05);
  }
  Values x = op.in(0), wanted(static_cast<size_t>(count(kept)), initial(name, t));
  for (size_t i = 0; i < x.size(); ++i) {
    int64_t rest = static_cast<int64_t>(i), index = 0, stride = 1;
    for (size_t d = c.shape.size(); d-- > 0; rest /= c.shape[d])
      if (!has(c, d)) index += rest % c.shape[d] * stride, stride *= c.shape[d];
    wanted[index] = combine(name, wanted[index], x[i]);
    if (t == DType::uint8) wanted[index] = std::fmod(wanted[index], 256);
  }
  op.run();
  std::string what = label(t, c.shape) + " axes";
  for (double a : c.axes) what += " " + std::to_string(int(a));
  const bool exact = t == DType::int32 || t == DType::uint8 || name == "reduce_max" || name == "reduce_min";
  if (exact) {
    expect_exact(op, what, 0, wanted);
  } else {
    expect_rounded(op, what, 0, wanted);
  }
}

void check_arg(DType t, const Shape& shape, int axis) {
  int64_t outer = 1, inner = 1;
  Shape kept;
  for (int d = 0; d < int(shape.size()); ++d) {
    if (d != axis) kept.push_back(shape[d]);
    (d < axis ? outer : inner) *= d == axis ? 1 : shape[d];
  }
  const int64_t length = shape[axis];
  for (const char* name : {"argmax", "argmin"}) {
    Op op(name);
    op.input(t, shape).output(DType::int32, kept).param("axis", axis);
    std::mt19937 random(5);
    op.fill(0, [&](int64_t i) { return t != DType::int32 && i % 977 == 976 ? NAN : float(int(random() % 200) - 100); });
    const Values x = op.in(0);
    Values wanted;
    for (int64_t o = 0; o < outer; ++o)
      for (int64_t j = 0; j < inner; ++j) {
        int64_t best = 0;
        for (int64_t k = 1; k < length; ++k) {
          const double v = x[(o * length + k) * inner + j], b = x[(o * length + best) * inner + j];
          if (!std::isnan(b) && (std::isnan(v) || (name[3] == 'm' && name[4] == 'a' ? v > b : v < b))) best = k;
        }
        wanted.push_back(double(best));
      }
    op.run();
    expect_exact(op, label(t, shape) + " axis " + std::to_string(axis), 0, wanted);
  }
}

// A million terms, and a sum that cancels.
void check_accuracy() {
  Op op("reduce_sum");
  op.input(DType::float32, {1000000}).output(DType::float32, {}).param("axes", std::vector<double>{0}).uniform(0, 0, 1);
  double exact = 0;
  for (double v : op.in(0)) exact += v;
  op.run();
  expect_close_to("a million terms", op.out(0)[0], exact, 1e-7);
  Op columns("reduce_sum");
  columns.input(DType::float32, {500000, 2}).output(DType::float32, {2}).param("axes", std::vector<double>{0});
  columns.fill(0, [](int64_t i) { return 1.0f / float(i % 1000 + 1); });
  Values sums(2);
  const Values x = columns.in(0);
  for (size_t i = 0; i < x.size(); ++i) sums[i % 2] += x[i];
  columns.run();
  expect_norms(columns, "long columns", 0, sums, 2e-7, 2e-7);
}

void check_nan() {
  for (const char* name : {"reduce_max", "reduce_min", "reduce_sum"})
    for (double axis : {0.0, 1.0}) {
      Op op(name);
      op.input(DType::float32, {100, 200}).output(DType::float32, {axis == 0 ? 200 : 100});
      op.param("axes", std::vector<double>{axis}).fill(0, [](int64_t i) { return i == 7055 ? NAN : float(i % 13); });
      op.run();
      const Values y = op.out(0);
      for (size_t i = 0; i < y.size(); ++i)
        expect(std::isnan(y[i]) == (i == (axis == 0 ? 55u : 35u)), std::string(name) + " NaN " + std::to_string(i));
    }
}

void check_threads() {
  for (const Case& c : {Case{{1000, 1000}, {0}}, Case{{1000, 1000}, {1}}, Case{{1000000}, {0}}}) {
    Values first;
    const int before = num_threads();
    for (int threads : {1, 2, 3}) {
      set_num_threads(threads);
      Op op("reduce_sum");
      op.input(DType::float32, c.shape).output(DType::float32, {c.axes[0] == 0 && c.shape.size() == 1 ? 1 : 1000});
      op.param("axes", c.axes).normal(0).run();
      if (first.empty()) first = op.out(0);
      expect_exact(op, std::to_string(threads) + " threads", 0, first);
    }
    set_num_threads(before);
  }
}

}  // namespace

int main() {
  for (const char* name : {"reduce_sum", "reduce_prod", "reduce_max", "reduce_min"})
    for (DType t : {DType::float32, DType::bfloat16, DType::float16, DType::int32, DType::uint8})
      for (const Case& c : kCases)
        if (!(std::string(name) == "reduce_prod" && (t == DType::uint8 || count(c.shape) > 1000))) check(name, t, c);
  for (DType t : {DType::float32, DType::bfloat16, DType::int32})
    for (const auto& [shape, axis] : std::vector<std::pair<Shape, int>>{{{3, 33, 4}, 0},
                                                                        {{3, 33, 4}, 1},
                                                                        {{3, 33, 4}, 2},
                                                                        {{5, 3000}, 1},
                                                                        {{3000, 5}, 0},
                                                                        {{4, 20, 1500}, 1},
                                                                        {{1}, 0}})
      check_arg(t, shape, axis);
  check_accuracy();
  check_nan();
  check_threads();
  for (DType t : {DType::float32, DType::bfloat16})
    for (const char* name : {"reduce_sum", "reduce_max"})
      for (const Case& c :
           {Case{{8192, 1024}, {1}}, Case{{8192, 1024}, {0}}, Case{{8192, 1024}, {0, 1}}, Case{{64, 128, 1024}, {1}}}) {
        Op op(name);
        Shape kept;
        for (size_t i = 0; i < c.shape.size(); ++i)
          if (!has(c, i)) kept.push_back(c.shape[i]);
        op.input(t, c.shape).output(t, kept).param("axes", c.axes).normal(0);
        race(op, label(t, c.shape) + " over axis " + std::to_string(int(c.axes[0])) + (c.axes.size() > 1 ? ",1" : ""));
      }
  Op op("argmax");
  op.input(DType::float32, {512, 32000}).output(DType::int32, {512}).param("axis", 1).normal(0);
  race(op, label(DType::float32, {512, 32000}));
  return failures();
}
