// Kernels that only move elements: broadcast_to, slice, flip, pad, concat, dynamic_slice, dynamic_update_slice, fill
// and iota, against loops over multi-indices, for elements of 1, 2 and 4 bytes.
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

using Index = std::vector<int64_t>;
constexpr DType kTypes[] = {DType::uint8, DType::bfloat16, DType::int32};

Values numbers(const Shape& s) { return {s.begin(), s.end()}; }

int64_t offset_of(const Shape& shape, const Index& index) {
  int64_t offset = 0;
  for (size_t i = 0; i < shape.size(); ++i) offset = offset * shape[i] + index[i];
  return offset;
}

// The values f(index) over all indices of a shape.
template <class F>
Values gather(const Shape& shape, const F& f) {
  Values values;
  Index index(shape.size(), 0);
  for (int64_t n = count(shape); n > 0; --n) {
    values.push_back(f(index));
    for (size_t d = shape.size(); d-- > 0;) {
      if (++index[d] < shape[d]) break;
      index[d] = 0;
    }
  }
  return values;
}

Op moving(const char* name, DType t, const Shape& x, const Shape& y) {
  Op op(name);
  op.input(t, x).output(t, y);
  if (count(x) > 0) op.fill(0, [](int64_t i) { return float(i % 251); });
  return op;
}

void check(Op& op, const Values& wanted) {
  op.run();
  expect_exact(op, label(op.node.inputs[0].dtype, op.node.inputs[0].shape), 0, wanted);
}

void check_broadcast(DType t) {
  for (const auto& [from, to] : std::vector<std::pair<Shape, Shape>>{{{}, {3, 5}},
                                                                     {{1}, {0}},
                                                                     {{7}, {7}},
                                                                     {{33, 1}, {33, 31}},
                                                                     {{1, 33}, {31, 33}},
                                                                     {{31}, {3, 5, 31}},
                                                                     {{2, 1, 4, 1}, {2, 3, 4, 300}},
                                                                     {{3, 1, 5}, {2, 3, 7, 5}}}) {
    Op op = moving("broadcast_to", t, from, to);
    op.param("shape", numbers(to));
    const Values x = op.in(0);
    check(op, gather(to, [&, lead = to.size() - from.size(), shape = from](const Index& i) {
            Index source;
            for (size_t d = 0; d < shape.size(); ++d) source.push_back(shape[d] == 1 ? 0 : i[lead + d]);
            return x[offset_of(shape, source)];
          }));
  }
}

void check_slice(DType t) {
  struct Cut {
    Shape shape, start, limit, stride;
  };
  for (const Cut& c :
       {Cut{{10}, {2}, {9}, {1}}, Cut{{10}, {1}, {10}, {3}}, Cut{{4, 33, 5}, {0, 1, 0}, {4, 33, 5}, {1, 4, 1}},
        Cut{{4, 33, 7}, {1, 0, 2}, {3, 33, 7}, {1, 1, 2}}, Cut{{3, 4}, {1, 2}, {1, 4}, {1, 1}},
        Cut{{64, 300}, {0, 0}, {64, 300}, {1, 1}}, Cut{{}, {}, {}, {}}}) {
    Shape to;
    for (size_t d = 0; d < c.shape.size(); ++d) to.push_back((c.limit[d] - c.start[d] + c.stride[d] - 1) / c.stride[d]);
    Op op = moving("slice", t, c.shape, to);
    op.param("start", numbers(c.start)).param("limit", numbers(c.limit)).param("stride", numbers(c.stride));
    const Values x = op.in(0);
    check(op, gather(to, [&](Index i) {
            for (size_t d = 0; d < i.size(); ++d) i[d] = c.start[d] + i[d] * c.stride[d];
            return x[offset_of(c.shape, i)];
          }));
  }
}

void check_flip(DType t) {
  const Shape shape = {3, 17, 33};
  for (const Values& axes : {Values{}, Values{0}, Values{1}, Values{2}, Values{0, 2}, Values{0, 1, 2}}) {
    Op op = moving("flip", t, shape, shape);
    op.param("axes", axes);
    const Values x = op.in(0);
    check(op, gather(shape, [&](Index i) {
            for (double a : axes) i[size_t(a)] = shape[size_t(a)] - 1 - i[size_t(a)];
            return x[offset_of(shape, i)];
          }));
  }
}

void check_pad(DType t) {
  struct Edges {
    Shape shape, low, high;
  };
  for (const Edges& e : {Edges{{5}, {2}, {3}}, Edges{{3, 33}, {0, 1}, {2, 0}}, Edges{{2, 3, 4}, {1, 0, 2}, {0, 3, 1}},
                         Edges{{0, 3}, {2, 1}, {1, 1}}, Edges{{4, 4}, {0, 0}, {0, 0}}}) {
    Shape to;
    for (size_t d = 0; d < e.shape.size(); ++d) to.push_back(e.low[d] + e.shape[d] + e.high[d]);
    Op op = moving("pad", t, e.shape, to);
    op.param("low", numbers(e.low)).param("high", numbers(e.high)).param("value", 3);
    const Values x = op.in(0);
    check(op, gather(to, [&](Index i) {
            for (size_t d = 0; d < i.size(); ++d) {
              i[d] -= e.low[d];
              if (i[d] < 0 || i[d] >= e.shape[d]) return 3.0;
            }
            return x[offset_of(e.shape, i)];
          }));
  }
}

void check_concat(DType t) {
  for (int axis : {0, 1, 2}) {
    Op op("concat");
    Shape to = {3, 4, 5};
    to[axis] = 0;
    std::vector<Shape> shapes;
    for (int64_t n : {2, 0, 1, 33}) {
      shapes.push_back({3, 4, 5});
      shapes.back()[axis] = n;
      to[axis] += n;
      op.input(t, shapes.back());
      if (n > 0) op.fill(int(shapes.size()) - 1, [n](int64_t i) { return float((i + 50 * n) % 251); });
    }
    op.output(t, to).param("axis", axis);
    check(op, gather(to, [&](Index i) {
            size_t k = 0;
            while (i[axis] >= shapes[k][axis]) i[axis] -= shapes[k++][axis];
            return op.in(int(k))[offset_of(shapes[k], i)];
          }));
  }
}

// The start is clamped so that the window fits.
void check_windows(DType t) {
  const Shape shape = {5, 33, 7}, sizes = {2, 10, 7};
  for (const Index& start : {Index{0, 0, 0}, Index{1, 5, 0}, Index{4, 30, 3}, Index{-3, -1, -9}}) {
    Index at;
    for (size_t d = 0; d < 3; ++d) at.push_back(std::clamp<int64_t>(start[d], 0, shape[d] - sizes[d]));
    Op read("dynamic_slice");
    read.input(t, shape).input(DType::int32, {3}).output(t, sizes).param("sizes", numbers(sizes));
    Op write("dynamic_update_slice");
    write.input(t, shape).input(t, sizes).input(DType::int32, {3}).output(t, shape);
    for (size_t d = 0; d < 3; ++d) {
      read.inputs[1].as<int32_t>()[d] = int32_t(start[d]);
      write.inputs[2].as<int32_t>()[d] = int32_t(start[d]);
    }
    read.fill(0, [](int64_t i) { return float(i % 251); });
    write.fill(0, [](int64_t i) { return float(i % 251); }).fill(1, [](int64_t i) { return float(i % 113); });
    const Values x = read.in(0), update = write.in(1);
    check(read, gather(sizes, [&](Index i) {
            for (size_t d = 0; d < 3; ++d) i[d] += at[d];
            return x[offset_of(shape, i)];
          }));
    check(write, gather(shape, [&](Index i) {
            Index in = i;
            bool inside = true;
            for (size_t d = 0; d < 3; ++d) in[d] -= at[d], inside = inside && in[d] >= 0 && in[d] < sizes[d];
            return inside ? update[offset_of(sizes, in)] : x[offset_of(shape, i)];
          }));
  }
}

void check_fill(DType t) {
  for (const Shape& shape : {Shape{}, Shape{0}, Shape{33}, Shape{2, 3, 31}, Shape{5, 2000}}) {
    Op op("fill");
    op.output(t, shape).param("value", 2).param("shape", numbers(shape)).param("dtype", dtype_name(t));
    op.run();
    expect_exact(op, label(t, shape), 0, Values(size_t(count(shape)), 2));
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      Op iota("iota");
      iota.output(t, shape).param("axis", int(axis)).param("shape", numbers(shape)).param("dtype", dtype_name(t));
      iota.run();
      Values wanted = gather(shape, [&](const Index& i) { return double(i[axis]); });
      if (t == DType::uint8)
        for (double& v : wanted) v = std::fmod(v, 256);
      if (t == DType::bfloat16)
        for (double& v : wanted) v = round_bfloat16(float(v));
      expect_exact(iota, label(t, shape) + " axis " + std::to_string(axis), 0, wanted);
    }
  }
}

void time_all() {
  const auto go = [](Op& op, const std::string& what) { race(op, what); };
  for (DType t : {DType::float32, DType::bfloat16}) {
    const std::string type = dtype_name(t);
    Op rows = moving("broadcast_to", t, {1, 1024}, {4096, 1024});
    go(rows.param("shape", Values{4096, 1024}), type + " rows");
    Op columns = moving("broadcast_to", t, {4096, 1}, {4096, 1024});
    go(columns.param("shape", Values{4096, 1024}), type + " columns");
    Op heads = moving("broadcast_to", t, {256, 64, 1, 8}, {256, 64, 32, 8});
    go(heads.param("shape", Values{256, 64, 32, 8}), type + " short runs");
    Op cut = moving("slice", t, {4096, 2048}, {4096, 1024});
    cut.param("start", Values{0, 512}).param("limit", Values{4096, 1536}).param("stride", Values{1, 1});
    race(cut, type + " half of each row", 2 * cut.outputs[0].size);
    Op head = moving("slice", t, {4096, 16, 64}, {4096, 16, 32});
    head.param("start", Values{0, 0, 32}).param("limit", Values{4096, 16, 64}).param("stride", Values{1, 1, 1});
    race(head, type + " half of each head", 2 * head.outputs[0].size);
    Op strided = moving("slice", t, {4096, 2048}, {4096, 1024});
    strided.param("start", Values{0, 0}).param("limit", Values{4096, 2048}).param("stride", Values{1, 2});
    go(strided, type + " every second");
    Op reversed = moving("flip", t, {4096, 1024}, {4096, 1024});
    go(reversed.param("axes", Values{1}), type + " last axis");
    Op padded = moving("pad", t, {4096, 1000}, {4096, 1024});
    go(padded.param("low", Values{0, 12}).param("high", Values{0, 12}).param("value", 0), type);
    Op joined("concat");
    joined.input(t, {4096, 512}).input(t, {4096, 512}).output(t, {4096, 1024}).param("axis", 1);
    go(joined, type + " halves of rows");
    Op stacked("concat");
    stacked.input(t, {65536, 1, 32}).input(t, {65536, 1, 32}).output(t, {65536, 2, 32}).param("axis", 1);
    go(stacked, type + " short runs");
  }
  Op filled("fill");
  filled.output(DType::float32, {4096, 1024})
      .param("value", 0)
      .param("shape", Values{4096, 1024})
      .param("dtype", "float32");
  race(filled, "float32", 2 * filled.outputs[0].size);
  for (int axis : {0, 1}) {
    Op counted("iota");
    counted.output(DType::int32, {4096, 1024})
        .param("axis", axis)
        .param("shape", Values{4096, 1024})
        .param("dtype", "int32");
    race(counted, "int32 axis " + std::to_string(axis), 2 * counted.outputs[0].size);
  }
}

}  // namespace

int main() {
  for (DType t : kTypes) {
    check_broadcast(t);
    check_slice(t);
    check_flip(t);
    check_pad(t);
    check_concat(t);
    check_windows(t);
    check_fill(t);
  }
  time_all();
  return failures();
}
