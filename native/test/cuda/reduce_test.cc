// Reductions, argmax and cumsum of shapes that the cases do not reach: folds in parts, odd lengths, axes that
// alternate, every dtype, and sums that must not lose what is small.
#include <algorithm>
#include <cmath>
#include <random>

#include "cuda/elementwise/formats.cuh"
#include "run_node.h"

using namespace te;
using namespace te::test;
using namespace te::cuda::element;

namespace {

double value_at(DType t, const Bytes& bytes, int64_t i) {
  const auto code = [&](auto x) {
    std::memcpy(&x, bytes.data() + i * static_cast<int64_t>(sizeof x), sizeof x);
    return x;
  };
  switch (t) {
    case DType::float32:
      return code(0.0f);
    case DType::bfloat16:
      return value_bfloat16(code(uint16_t{}));
    case DType::float16:
      return value_float16(code(uint16_t{}));
    case DType::float8_e4m3fn:
      return value_float8_e4m3fn(code(uint8_t{}));
    case DType::int32:
      return code(int32_t{});
    case DType::uint32:
      return code(uint32_t{});
    default:
      return code(uint8_t{});
  }
}

// Small whole numbers for integers; for floats normal ones around `mean`.
Bytes operand(const Aval& x, float mean, std::mt19937& random) {
  std::normal_distribution<float> normal(mean, 1);
  Bytes bytes(x.bytes());
  for (int64_t i = 0; i < x.size(); ++i) {
    const float v = normal(random);
    const auto put = [&](auto code) {
      std::memcpy(bytes.data() + i * static_cast<int64_t>(sizeof code), &code, sizeof code);
    };
    switch (x.dtype) {
      case DType::float32:
        put(v);
        break;
      case DType::bfloat16:
        put(static_cast<uint16_t>(code_bfloat16(v)));
        break;
      case DType::float16:
        put(static_cast<uint16_t>(code_float16(v)));
        break;
      case DType::float8_e4m3fn:
        put(static_cast<uint8_t>(code_float8_e4m3fn(v)));
        break;
      case DType::int32:
        put(static_cast<int32_t>(v * 100));
        break;
      case DType::uint32:
        put(static_cast<uint32_t>(random()));
        break;
      case DType::boolean:
        put(static_cast<uint8_t>(random() % 64 == 0));
        break;
      default:
        put(static_cast<uint8_t>(random()));
    }
  }
  return bytes;
}

struct Problem {
  DType dtype;
  Shape shape;
  std::vector<int64_t> axes;
  float mean = 0;
};

// For each result the elements that it folds, in order.
std::vector<std::vector<int64_t>> members(const Problem& p) {
  std::vector<bool> reduced(p.shape.size(), false);
  for (int64_t axis : p.axes) reduced[static_cast<size_t>(axis)] = true;
  int64_t results = 1;
  for (size_t d = 0; d < p.shape.size(); ++d) results *= reduced[d] ? 1 : p.shape[d];
  std::vector<std::vector<int64_t>> all(static_cast<size_t>(results));
  const int64_t total = count(p.shape);
  for (int64_t i = 0; i < total; ++i) {
    int64_t result = 0, rest = i, step = 1;
    for (size_t d = p.shape.size(); d-- > 0; rest /= p.shape[d])
      if (!reduced[d]) result += rest % p.shape[d] * step, step *= p.shape[d];
    all[static_cast<size_t>(result)].push_back(i);
  }
  return all;
}

std::string title(const char* op, const Problem& p) {
  std::string text = std::string(op) + " of " + dtype_name(p.dtype);
  for (int64_t d : p.shape) text += " " + std::to_string(d);
  text += " over";
  for (int64_t axis : p.axes) text += " " + std::to_string(axis);
  return text;
}

Bytes reduced(const char* op, const Problem& p, const Bytes& x, DType out, int64_t results) {
  Node node{op, {{p.shape, p.dtype, true}}, {{{results}, out, true}}, {}};
  if (std::string(op).compare(0, 3, "arg") == 0)
    node.params.set("axis", static_cast<double>(p.axes[0]));
  else
    node.params.set("axes", std::vector<double>(p.axes.begin(), p.axes.end()));
  return run_node(node, {x})[0];
}

double ulp(DType t, double x) {
  const int bits = t == DType::float32 ? 24 : t == DType::bfloat16 ? 8 : t == DType::float16 ? 11 : 4;
  return std::ldexp(1.0, std::max(std::ilogb(x == 0 ? 1e-30 : x), -10) + 1 - bits);
}

void test_folds(const Problem& p) {
  std::mt19937 random(3);
  const Bytes x = operand({p.shape, p.dtype, true}, p.mean, random);
  const auto all = members(p);
  const int64_t results = static_cast<int64_t>(all.size());
  const bool real = p.dtype <= DType::float8_e8m0fnu;
  const Bytes most = reduced("reduce_max", p, x, p.dtype, results),
              least = reduced("reduce_min", p, x, p.dtype, results);
  Bytes sum, places;
  if (p.dtype != DType::boolean) sum = reduced("reduce_sum", p, x, p.dtype, results);
  if (p.axes.size() == 1) places = reduced("argmax", p, x, DType::int32, results);
  bool extremes = true, sums = true, first = true;
  for (int64_t r = 0; r < results; ++r) {
    double total = 0, high = -INFINITY, low = INFINITY;
    int64_t place = 0;
    uint64_t wrapped = 0;
    for (size_t k = 0; k < all[r].size(); ++k) {
      const double v = value_at(p.dtype, x, all[r][k]);
      total += v, wrapped += static_cast<uint64_t>(static_cast<int64_t>(real ? 0 : v));
      if (v > high) place = static_cast<int64_t>(k);
      high = std::max(high, v), low = std::min(low, v);
    }
    extremes &= value_at(p.dtype, most, r) == high && value_at(p.dtype, least, r) == low;
    if (!places.empty()) first &= value_at(DType::int32, places, r) == static_cast<double>(place);
    if (sum.empty()) continue;
    const double got = value_at(p.dtype, sum, r);
    const double wanted = p.dtype == DType::int32    ? static_cast<int32_t>(wrapped)
                          : p.dtype == DType::uint32 ? static_cast<uint32_t>(wrapped)
                          : p.dtype == DType::uint8  ? static_cast<uint8_t>(wrapped)
                                                     : total;
    sums &= real ? std::fabs(got - wanted) <= 0.51 * ulp(p.dtype, wanted) : got == wanted;
  }
  expect(extremes, title("the extremes", p));
  expect(sums, title("the sums", p));
  expect(first, title("argmax", p));
}

void test_scan(const Problem& p, bool reverse, bool exclusive) {
  std::mt19937 random(5);
  const Aval x{p.shape, p.dtype, true};
  const Bytes in = operand(x, p.mean, random);
  Node node{"cumsum", {x}, {x}, {}};
  node.params.set("axis", static_cast<double>(p.axes[0]));
  node.params.set("reverse", reverse);
  node.params.set("exclusive", exclusive);
  const Bytes out = run_node(node, {in})[0];
  bool right = true;
  for (std::vector<int64_t> row : members(p)) {
    if (reverse) std::reverse(row.begin(), row.end());
    double total = 0;
    for (int64_t i : row) {
      const double next = total + value_at(p.dtype, in, i), wanted = exclusive ? total : next;
      right &= std::fabs(value_at(p.dtype, out, i) - wanted) <= 0.51 * ulp(p.dtype, wanted);
      total = next;
    }
  }
  expect(right, title("cumsum", p) + (reverse ? ", reverse" : "") + (exclusive ? ", exclusive" : ""));
}

}  // namespace

int main() {
  using enum DType;
  for (const Problem& p : {
           Problem{float32, {1, 300000}, {1}, 100}, Problem{float32, {2, 99991}, {1}, 1000},
           Problem{bfloat16, {3, 40000}, {1}, 3},   Problem{float32, {5000, 33}, {0}, 50},
           Problem{bfloat16, {3001, 64}, {0}},      Problem{float16, {700, 8}, {0}},
           Problem{float32, {2000, 3}, {0}},        Problem{bfloat16, {7, 40, 16}, {0, 2}},
           Problem{float32, {6, 5, 4, 3}, {0, 2}},  Problem{float32, {3, 4, 5, 2, 3, 8}, {0, 2, 4}},
           Problem{int32, {400, 129}, {1}},         Problem{int32, {129, 400}, {0}},
           Problem{uint32, {70000}, {0}},           Problem{uint8, {300, 48}, {0}},
           Problem{uint8, {48, 300}, {1}},          Problem{boolean, {500, 16}, {0}},
           Problem{boolean, {16, 37}, {1}},         Problem{float8_e4m3fn, {90, 32}, {1}},
           Problem{float32, {1000, 1}, {1}},        Problem{float32, {40000, 5}, {1}},
       })
    test_folds(p);
  for (const bool reverse : {false, true})
    for (const bool exclusive : {false, true})
      for (const Problem& p :
           {Problem{float32, {3, 5000}, {1}, 10}, Problem{float32, {777, 45}, {0}, 10},
            Problem{bfloat16, {2, 100, 33}, {1}}, Problem{int32, {2, 1025}, {1}}, Problem{float8_e4m3fn, {2, 9}, {1}}})
        test_scan(p, reverse, exclusive);
  return failures;
}
