// layer_norm_quantize_transposed and rms_norm_quantize_transposed: all that the form without a transposed copy gives,
// to the bit, and its codes turned; for strips of 32 and of 16 rows, whole and not.
#include <cmath>
#include <random>

#include "cuda/values.cuh"
#include "run_node.h"

using namespace te;
using namespace te::test;

Bytes numbers(int64_t n, DType type, unsigned seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal(0.5f, 2);
  Bytes bytes(static_cast<size_t>(n) * dtype_bytes(type));
  for (int64_t i = 0; i < n; ++i) cuda::store_real(type, bytes.data(), i, normal(random));
  return bytes;
}

void check(bool layer, int64_t rows, int64_t columns, DType x, DType q) {
  const std::string name = std::string(layer ? "layer" : "rms") + " norm of " + dtype_name(x) + " [" +
                           std::to_string(rows) + ", " + std::to_string(columns) + "] to " + dtype_name(q);
  Node node;
  node.op = layer ? "layer_norm_quantize" : "rms_norm_quantize";
  const DType gamma = columns % 32 ? DType::float32 : x;
  node.inputs = {{{rows, columns}, x}, {{columns}, gamma}};
  std::vector<Bytes> inputs = {numbers(rows * columns, x, 1), numbers(columns, gamma, 2)};
  if (layer) node.inputs.push_back({{columns}, gamma}), inputs.push_back(numbers(columns, gamma, 3));
  node.inputs.push_back({{1}, DType::float32});
  inputs.push_back(bytes_of<float>({21.5f}));
  node.outputs = {{{rows, columns}, q}, {{1}, DType::float32}};
  for (int k = layer ? 0 : 1; k < 2; ++k) node.outputs.push_back({{rows}, DType::float32});
  node.params.set("epsilon", 1e-5);
  node.params.set("dtype", std::string(dtype_name(q)));
  const std::vector<Bytes> plain = run_node(node, inputs);
  node.op += "_transposed";
  node.outputs.push_back({{columns, rows}, q});
  const std::vector<Bytes> both = run_node(node, inputs);
  expect(std::equal(plain.begin(), plain.end(), both.begin()), name + ": as without the copy");
  bool turned = true;
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      turned =
          turned && both.back()[static_cast<size_t>(c * rows + r)] == both[0][static_cast<size_t>(r * columns + c)];
  expect(turned, name + ": qT");
}

int main() {
  const DType f32 = DType::float32, bf16 = DType::bfloat16, f16 = DType::float16;
  const DType e4m3 = DType::float8_e4m3fn, e5m2 = DType::float8_e5m2;
  for (const bool layer : {true, false}) {
    for (const DType x : {f32, bf16, f16})
      for (const int64_t columns : {16, 48, 128, 400, 1040}) check(layer, 48, columns, x, x == f16 ? e5m2 : e4m3);
    check(layer, 80, 768, bf16, e5m2);
    check(layer, 48, 5120, bf16, e4m3);  // 16 rows fit
    check(layer, 16, 12288, f32, e4m3);
    check(layer, 0, 64, bf16, e4m3);
  }
  return failures ? 1 : 0;
}
