// quantize and quantize_transposed: codes in both orders, amax and column sums, for sizes that fill tiles and that do
// not.
#include <cuda_fp8.h>

#include <cmath>
#include <random>

#include "cuda/values.cuh"
#include "run_node.h"

using namespace te;
using namespace te::test;

struct Problem {
  Shape shape;
  size_t row_axes;  // leading axes of x that are rows of qT
  DType x, q, sums;
  float strange = 0;  // put somewhere, where not 0
};

std::vector<float> numbers(size_t n, DType type, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0, 3);
  std::vector<float> x(n);
  for (float& v : x) v = cuda::round_real(type, normal(random));
  return x;
}

Bytes stored(DType type, const std::vector<float>& x) {
  Bytes bytes(x.size() * dtype_bytes(type));
  for (size_t i = 0; i < x.size(); ++i) cuda::store_real(type, bytes.data(), static_cast<int64_t>(i), x[i]);
  return bytes;
}

uint32_t bits(float x) {
  uint32_t b;
  std::memcpy(&b, &x, 4);
  return b & 0x7fffffffu;
}

void check(const Problem& p) {
  const float scale = 37.5f;
  const std::string name = std::string(dtype_name(p.x)) + " to " + dtype_name(p.q) + ", " +
                           std::to_string(count(p.shape)) + " elements, " + std::to_string(p.shape.back()) +
                           " in a row";
  int64_t rows = 1;
  for (size_t d = 0; d < p.row_axes; ++d) rows *= p.shape[d];
  const int64_t n = count(p.shape), columns = rows ? n / rows : 0;
  std::vector<float> x = numbers(static_cast<size_t>(n), p.x, 7);
  if (p.strange != 0 && n > 0) x[static_cast<size_t>(n * 2 / 3)] = cuda::round_real(p.x, p.strange);

  Node node;
  node.op = "quantize_transposed";
  node.inputs = {{p.shape, p.x}, {{1}, DType::float32}};
  node.outputs = {{p.shape, p.q}, {{1}, DType::float32}, {{columns, rows}, p.q}, {{columns}, p.sums}};
  node.params.set("dtype", std::string(dtype_name(p.q)));
  const std::vector<Bytes> inputs = {stored(p.x, x), bytes_of<float>({scale})};
  const std::vector<Bytes> with_sums = run_node(node, inputs), again = run_node(node, inputs);
  expect(with_sums == again, name + ": the same bits twice");
  node.outputs.pop_back();
  const std::vector<Bytes> without = run_node(node, inputs);
  expect(std::equal(without.begin(), without.end(), with_sums.begin()), name + ": the same without sums");
  node.op = "quantize";
  node.outputs.pop_back();
  const std::vector<Bytes> plain = run_node(node, inputs);
  expect(plain[0] == without[0] && plain[1] == without[1], name + ": the same without the transposed copy");

  uint32_t most = 0;
  bool codes = true, turned = true, sums = true;
  for (int64_t c = 0; c < columns; ++c) {
    double sum = 0, size = 0;
    for (int64_t r = 0; r < rows; ++r) {
      const float v = x[static_cast<size_t>(r * columns + c)];
      most = std::max(most, bits(v));
      const uint8_t code =
          __nv_cvt_float_to_fp8(v * scale, __NV_SATFINITE, p.q == DType::float8_e5m2 ? __NV_E5M2 : __NV_E4M3);
      codes = codes && without[0][static_cast<size_t>(r * columns + c)] == code;
      turned = turned && without[2][static_cast<size_t>(c * rows + r)] == code;
      sum += v, size += std::fabs(v);
    }
    const float got = cuda::load_real(p.sums, with_sums[3].data(), c);
    const double limit = 1e-6 * size + (p.sums == DType::float32 ? 0 : std::fabs(sum) / 200);
    sums = sums && (std::isfinite(sum) ? std::fabs(got - sum) <= limit : !std::isfinite(got));
  }
  expect(codes, name + ": q");
  expect(turned, name + ": qT");
  expect(sums, name + ": sums");
  const uint32_t amax = bits(values_of<float>(without[1])[0]), infinite = bits(INFINITY);
  expect(most > infinite ? amax > infinite : amax == most, name + ": amax");
}

int main() {
  const DType f32 = DType::float32, bf16 = DType::bfloat16, f16 = DType::float16;
  const DType e4m3 = DType::float8_e4m3fn, e5m2 = DType::float8_e5m2;
  for (const DType x : {f32, bf16, f16})
    for (const Shape& shape : {Shape{1, 1}, {16, 16}, {128, 64}, {257, 48}, {33, 17}, {130, 66}, {64, 250}})
      check({shape, 1, x, x == f16 ? e5m2 : e4m3, x == bf16 ? bf16 : f32});
  check({{5, 32, 3, 80}, 2, bf16, e5m2, f32});
  check({{40, 6, 16}, 1, f32, e4m3, f16});
  check({{1280, 704}, 1, bf16, e4m3, f32});  // more than one round of tiles
  for (const float strange : {INFINITY, -INFINITY, NAN, 1e30f}) check({{48, 80}, 1, bf16, e4m3, f32, strange});
  check({{0, 32}, 1, bf16, e4m3, f32});
  return failures ? 1 : 0;
}
