// take, take_along_axis, scatter_add, cumsum and sort against plain loops; index errors name the value and the range.
#include <algorithm>
#include <numeric>

#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

struct Around {
  int64_t outer = 1, length = 1, inner = 1;
};

Around around(const Shape& shape, int axis) {
  Around a;
  for (int d = 0; d < int(shape.size()); ++d) (d < axis ? a.outer : d == axis ? a.length : a.inner) *= shape[d];
  return a;
}

Shape replaced(Shape shape, int axis, const Shape& by) {
  shape.erase(shape.begin() + axis);
  shape.insert(shape.begin() + axis, by.begin(), by.end());
  return shape;
}

void fill_any(Op& op, int i) {
  if (is_float8(op.node.inputs[i].dtype) || dtype_bytes(op.node.inputs[i].dtype) < 4 ||
      op.node.inputs[i].dtype == DType::float32) {
    if (op.node.inputs[i].dtype != DType::uint8) {
      op.normal(i);
      return;
    }
  }
  op.fill(i, [](int64_t k) { return float(k * 37 % 101); });
}

void fill_indices(Op& op, int i, int64_t size) {
  std::mt19937 random(11);
  int32_t* indices = op.inputs[i].as<int32_t>();
  for (int64_t k = 0; k < op.node.inputs[i].size(); ++k) indices[k] = int32_t(random() % uint32_t(size));
}

Op take_op(DType t, const Shape& shape, int axis, const Shape& indices) {
  Op op("take");
  op.input(t, shape).input(DType::int32, indices).output(t, replaced(shape, axis, indices)).param("axis", axis);
  fill_any(op, 0);
  fill_indices(op, 1, shape[axis]);
  return op;
}

void check_take(DType t, const Shape& shape, int axis, const Shape& indices) {
  Op op = take_op(t, shape, axis, indices);
  const Values x = op.in(0), index = op.in(1);
  const Around a = around(shape, axis);
  Values wanted;
  for (int64_t o = 0; o < a.outer; ++o)
    for (double i : index)
      for (int64_t k = 0; k < a.inner; ++k) wanted.push_back(x[(o * a.length + int64_t(i)) * a.inner + k]);
  op.run();
  expect_exact(op, label(t, shape) + " axis " + std::to_string(axis), 0, wanted);
}

Op scatter_op(DType t, const Shape& shape, int axis, const Shape& indices) {
  Op op("scatter_add");
  op.input(DType::int32, indices).input(t, replaced(shape, axis, indices)).output(t, shape);
  op.param("axis", axis).param("size", int(shape[axis]));
  fill_indices(op, 0, shape[axis]);
  fill_any(op, 1);
  return op;
}

void check_scatter(DType t, const Shape& shape, int axis, const Shape& indices) {
  Op op = scatter_op(t, shape, axis, indices);
  const Values index = op.in(0), updates = op.in(1);
  const Around a = around(shape, axis);
  Values wanted(size_t(count(shape)));
  size_t from = 0;
  for (int64_t o = 0; o < a.outer; ++o)
    for (double i : index)
      for (int64_t k = 0; k < a.inner; ++k) wanted[(o * a.length + int64_t(i)) * a.inner + k] += updates[from++];
  if (t == DType::uint8)
    for (double& v : wanted) v = std::fmod(v, 256);
  op.run();
  expect_rounded(op, label(t, shape) + " axis " + std::to_string(axis), 0, wanted);
}

void check_along(DType t, const Shape& shape, int axis, int64_t length) {
  Op op("take_along_axis");
  const Shape to = replaced(shape, axis, {length});
  op.input(t, shape).input(DType::int32, to).output(t, to).param("axis", axis);
  fill_any(op, 0);
  fill_indices(op, 1, shape[axis]);
  const Values x = op.in(0), index = op.in(1);
  const Around a = around(shape, axis);
  Values wanted;
  for (int64_t o = 0, at = 0; o < a.outer; ++o)
    for (int64_t i = 0; i < length; ++i)
      for (int64_t k = 0; k < a.inner; ++k, ++at)
        wanted.push_back(x[(o * a.length + int64_t(index[at])) * a.inner + k]);
  op.run();
  expect_exact(op, label(t, shape) + " axis " + std::to_string(axis), 0, wanted);
}

void check_cumsum(DType t, const Shape& shape, int axis) {
  for (bool reverse : {false, true})
    for (bool exclusive : {false, true}) {
      Op op("cumsum");
      op.input(t, shape).output(t, shape).param("axis", axis).param("reverse", reverse).param("exclusive", exclusive);
      fill_any(op, 0);
      const Values x = op.in(0);
      const Around a = around(shape, axis);
      Values wanted(x.size());
      for (int64_t o = 0; o < a.outer; ++o)
        for (int64_t k = 0; k < a.inner; ++k) {
          double total = 0;
          for (int64_t i = 0; i < a.length; ++i) {
            const int64_t at = (o * a.length + (reverse ? a.length - 1 - i : i)) * a.inner + k;
            wanted[at] = exclusive ? total : total + x[at];
            total += x[at];
          }
        }
      if (t == DType::uint8)
        for (double& v : wanted) v = std::fmod(v, 256);
      op.run();
      expect_rounded(op, label(t, shape) + " axis " + std::to_string(axis), 0, wanted);
    }
}

// Ties, signed zeros, infinities and NaN: stable, NaN last either way.
void check_sort(DType t, const Shape& shape, int axis) {
  for (bool descending : {false, true}) {
    Op op("sort");
    op.input(t, shape).output(t, shape).output(DType::int32, shape).param("axis", axis).param("descending", descending);
    std::mt19937 random(7);
    const bool floating = !(t == DType::int32 || t == DType::uint8);
    op.fill(0, [&](int64_t) {
      const uint32_t r = random() % 64;
      if (!floating) return float(random() % 100) - (t == DType::int32 ? 50.0f : 0.0f);
      const float special[] = {NAN, HUGE_VALF, -HUGE_VALF, 0.0f, -0.0f, -NAN};
      return r < 6 ? special[r] : float(int(random() % 200) - 100) / 8;
    });
    const Values x = op.in(0);
    const Around a = around(shape, axis);
    Values values(x.size()), indices(x.size());
    std::vector<int64_t> order(static_cast<size_t>(a.length));
    for (int64_t row = 0; row < a.outer * a.inner; ++row) {
      const int64_t first = row / a.inner * a.length * a.inner + row % a.inner;
      const auto at = [&](int64_t i) { return x[first + i * a.inner]; };
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) {
        if (std::isnan(at(i)) || std::isnan(at(j))) return !std::isnan(at(i)) && std::isnan(at(j));
        return descending ? at(i) > at(j) : at(i) < at(j);
      });
      for (int64_t i = 0; i < a.length; ++i) {
        values[first + i * a.inner] = at(order[i]);
        indices[first + i * a.inner] = double(order[i]);
      }
    }
    op.run();
    const std::string what = label(t, shape) + " axis " + std::to_string(axis) + (descending ? " descending" : "");
    expect_exact(op, what, 0, values);
    expect_exact(op, what, 1, indices);
  }
}

void check_errors() {
  for (const char* name : {"take", "take_along_axis", "scatter_add"})
    for (int32_t bad : {7, -1}) {
      Op op(name);
      const bool scatter = name[0] == 's';
      if (scatter)
        op.input(DType::int32, {3}).input(DType::float32, {3}).output(DType::float32, {7}).param("size", 7);
      else
        op.input(DType::float32, {7}).input(DType::int32, {3}).output(DType::float32, {3});
      op.param("axis", 0).normal(scatter ? 1 : 0);
      int32_t* indices = op.inputs[scatter ? 0 : 1].as<int32_t>();
      indices[0] = 6, indices[1] = bad, indices[2] = 0;
      const std::string error = error_of([&] { op.run(); });
      expect(error.rfind("index: ", 0) == 0 && error.find(std::to_string(bad)) != std::string::npos &&
                 error.find("[0, 7)") != std::string::npos,
             op.node.op + " error: " + error);
    }
}

void check_threads() {
  Values first;
  const int before = num_threads();
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    Op op = scatter_op(DType::float32, {50, 200}, 0, {4000});
    op.run();
    if (first.empty()) first = op.out(0);
    expect_exact(op, std::to_string(threads) + " threads", 0, first);
  }
  set_num_threads(before);
}

void time_all() {
  for (DType t : {DType::float32, DType::bfloat16}) {
    Op embedding = take_op(t, {32000, 768}, 0, {8192});
    race(embedding, "embedding " + label(t, {32000, 768}), 2 * embedding.outputs[0].size);
    Op gradient = scatter_op(t, {32000, 768}, 0, {8192});
    race(gradient, "embedding " + label(t, {32000, 768}));
    Op columns = take_op(t, {1024, 4096}, 1, {4096});
    race(columns, "columns " + label(t, {1024, 4096}), 2 * columns.outputs[0].size);
    for (int axis : {0, 1}) {
      Op running("cumsum");
      running.input(t, {2048, 2048}).output(t, {2048, 2048}).param("axis", axis).normal(0);
      race(running, label(t, {2048, 2048}) + " axis " + std::to_string(axis));
    }
    Op sorted("sort");
    sorted.input(t, {64, 16384}).output(t, {64, 16384}).output(DType::int32, {64, 16384}).param("axis", 1).normal(0);
    race(sorted, label(t, {64, 16384}));
  }
}

}  // namespace

int main() {
  for (DType t : {DType::float32, DType::bfloat16, DType::float16, DType::int32, DType::uint8}) {
    for (int axis : {0, 1, 2}) {
      check_take(t, {5, 33, 7}, axis, {4, 3});
      check_take(t, {5, 33, 7}, axis, {});
      check_take(t, {5, 33, 7}, axis, {0});
      check_scatter(t, {5, 33, 7}, axis, {40, 3});
      check_scatter(t, {5, 33, 7}, axis, {});
      check_along(t, {5, 33, 7}, axis, 11);
      check_cumsum(t, {5, 33, 7}, axis);
      check_sort(t, {5, 33, 7}, axis);
    }
    for (int64_t width : kWidths) {
      check_scatter(t, {17, width}, 0, {100});
      check_cumsum(t, {3, width}, 1);
      check_sort(t, {3, width}, 1);
    }
    for (int64_t width : {2, 16, 100, 1000, 5000, 9000}) check_sort(t, {2, width}, 1);
    check_cumsum(t, {0, 3}, 1);
    check_sort(t, {0, 3}, 1);
  }
  check_errors();
  check_threads();
  time_all();
  return failures();
}
