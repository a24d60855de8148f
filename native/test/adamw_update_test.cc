// adamw_update against double-precision loops, also in place, and its speed.
#include "test/oracle.h"

using namespace te;
using namespace te::test;

namespace {

struct Numbers {
  double b1 = 0.9, b2 = 0.999, eps = 1e-8, eps_root = 0, decay = 0.1, lr = 1e-2;
  int count = 3;
};

Op adamw(DType g, DType m, DType p, const Shape& shape, const Numbers& a) {
  Op op("adamw_update");
  op.input(g, shape).input(m, shape).input(m, shape).input(p, shape).input(DType::float32, {}).input(DType::int32, {});
  op.output(p, shape).output(m, shape).output(m, shape);
  op.param("b1", a.b1).param("b2", a.b2).param("eps", a.eps).param("epsRoot", a.eps_root).param("weightDecay", a.decay);
  if (count(shape) > 0) op.normal(0).normal(1, 0, 0.3).uniform(2, 0, 0.5).normal(3);
  op.fill(4, [&](int64_t) { return float(a.lr); });
  *op.inputs[5].as<int32_t>() = a.count;
  return op;
}

void check(DType g, DType m, DType p, const Shape& shape, const Numbers& a) {
  Op op = adamw(g, m, p, shape, a);
  const Values vg = op.in(0), vm = op.in(1), vv = op.in(2), vp = op.in(3);
  Values update(vg.size()), m2(vg.size()), v2(vg.size());
  const double c1 = 1 - std::pow(a.b1, a.count), c2 = 1 - std::pow(a.b2, a.count), lr = float(a.lr);
  for (size_t i = 0; i < vg.size(); ++i) {
    m2[i] = a.b1 * vm[i] + (1 - a.b1) * vg[i];
    v2[i] = a.b2 * vv[i] + (1 - a.b2) * vg[i] * vg[i];
    update[i] = -lr * (m2[i] / c1 / (std::sqrt(v2[i] / c2 + a.eps_root) + a.eps) + a.decay * vp[i]);
  }
  op.run();
  const std::string what = label(p, shape) + " moments " + dtype_name(m);
  expect_rounded(op, what, 0, update);
  expect_rounded(op, what, 1, m2);
  expect_rounded(op, what, 2, v2);
}

// m2 and v2 in the memory of m and v.
void check_in_place() {
  Op apart = adamw(DType::bfloat16, DType::float32, DType::bfloat16, {3000}, {});
  apart.run();
  Op op = adamw(DType::bfloat16, DType::float32, DType::bfloat16, {3000}, {});
  std::string why;
  const auto kernel = prepare_kernel(op.node, &why);
  std::vector<const void*> in;
  for (const Memory& m : op.inputs) in.push_back(m.as());
  void* out[] = {op.outputs[0].as(), op.inputs[1].as(), op.inputs[2].as()};
  kernel->run({in.data(), out, nullptr});
  expect_exact(op, "in place", 0, apart.out(0));
  expect(op.in(1) == apart.out(1) && op.in(2) == apart.out(2), "moments in place");
}

// The update with what it is joined with, against the update of gradients clipped before and added afterwards.
void check_joined(DType g, DType m, DType p, const Shape& shape, bool clip, bool small) {
  const Numbers a;
  const float norm = 3.7f, most = 0.5f;
  Op joined("joined_adamw_update");
  joined.input(DType::float32, {}).input(DType::int32, {});
  if (clip) joined.input(DType::float32, {}).input(DType::boolean, {});
  const int first = clip ? 4 : 2;
  joined.input(g, shape).input(m, shape).input(m, shape).input(p, shape);
  joined.output(p, shape).output(m, shape).output(m, shape);
  joined.param("b1", a.b1).param("b2", a.b2).param("eps", a.eps).param("epsRoot", a.eps_root);
  joined.param("weightDecay", std::vector<double>{a.decay});
  joined.param("apply", true).param("clip", clip).param("maxNorm", double(most));
  joined.fill(0, [&](int64_t) { return float(a.lr); });
  *joined.inputs[1].as<int32_t>() = a.count;
  if (clip) joined.fill(2, [&](int64_t) { return norm; }), *joined.inputs[3].as<bool>() = small;

  Op alone = adamw(DType::float32, m, p, shape, a);
  joined.normal(first);
  for (int i = 1; i < 4; ++i)
    if (alone.inputs[size_t(i)].size > 0)
      std::memcpy(joined.inputs[size_t(first + i)].as(), alone.inputs[size_t(i)].as(), alone.inputs[size_t(i)].size);
  const Values given = joined.in(first);
  if (!given.empty())
    alone.fill(0, [&](int64_t i) {
      const float x = static_cast<float>(given[static_cast<size_t>(i)]);
      return clip && !small ? x / norm * most : x;
    });
  joined.run();
  alone.run();
  Op sum("rounded");
  sum.input(p, shape);
  const Values before = alone.in(3), update = alone.out(0);
  if (!before.empty())
    sum.fill(0, [&](int64_t i) {
      return static_cast<float>(before[static_cast<size_t>(i)]) + static_cast<float>(update[static_cast<size_t>(i)]);
    });
  const std::string what = "joined " + label(p, shape) + (clip ? small ? " small" : " clipped" : "");
  expect_exact(joined, what, 0, sum.in(0));
  expect_exact(joined, what + " m2", 1, alone.out(1));
  expect_exact(joined, what + " v2", 2, alone.out(2));
}

}  // namespace

int main() {
  using enum DType;
  for (int64_t n : {0, 1, 31, 32, 33, 257, 768, 5000})
    for (DType t : kFloats) {
      check(t, t, t, {n}, {});
      check(t, float32, t, {3, n}, {.eps_root = 1e-4});
      check(float32, t, float32, {n}, {.b2 = 0.95, .count = 1000});
    }
  check(float32, float32, float32, {33}, {.b1 = 0, .b2 = 0, .eps = 1e-3});
  check(float32, float32, float32, {33}, {.decay = 0, .count = 2147483647});
  check_in_place();
  for (int64_t n : {0, 1, 33, 1023, 5000})
    for (const auto& [clip, small] : {std::pair{false, false}, {true, false}, {true, true}}) {
      check_joined(bfloat16, float32, float32, {n}, clip, small);
      check_joined(float32, bfloat16, bfloat16, {n}, clip, small);
      check_joined(float16, float32, float16, {n}, clip, small);
    }
  for (DType t : {float32, bfloat16}) {
    Op op = adamw(t, t, t, {4096, 1024}, {});
    race(op, label(t, {4096, 1024}));
  }
  return failures();
}
