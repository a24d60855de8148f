// Which way products take: the usual ones of a layer go to cuBLASLt as they lie, without a copy, and the cuBLASLt of
// the emulator refuses what NVIDIA's does.
#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include "cuda/device.h"
#include "cuda/gemm/matmul.h"
#include "cuda/registration.h"
#include "test/cuda/run_node.h"

using namespace te;
using test::expect;

namespace {

using Axes = std::vector<double>;

struct Dot {
  DType a, b, y;
  Shape a_shape, b_shape, y_shape;
  Axes lhs, rhs, lhs_batch, rhs_batch;
};

std::unique_ptr<Kernel> prepare(const Dot& d, bool biased, DType bias = DType::bfloat16) {
  Node node;
  const bool scaled = is_float8(d.a);
  node.op = scaled ? "scaled_dot" : "dot";
  node.inputs = {{d.a_shape, d.a}, {d.b_shape, d.b}};
  if (scaled) node.inputs.insert(node.inputs.end(), 2, {{1}, DType::float32});
  if (biased) node.inputs.push_back({{d.y_shape.back()}, bias});
  node.outputs = {{d.y_shape, d.y}};
  node.params.set("lhsContract", d.lhs);
  node.params.set("rhsContract", d.rhs);
  node.params.set("lhsBatch", d.lhs_batch);
  node.params.set("rhsBatch", d.rhs_batch);
  node.params.set("dtype", std::string(dtype_name(d.y)));
  std::string why;
  auto kernel = prepare_kernel(node, &why);
  expect(kernel != nullptr, "a product is declined: " + why);
  return kernel;
}

void expect_path(const char* what, const Dot& d, const std::string& path, bool biased = false) {
  const auto kernel = prepare(d, biased);
  expect(kernel && kernel->path() == path, std::string(what) + ": " + (kernel ? kernel->path() : "nothing"));
}

void paths() {
  constexpr DType bf = DType::bfloat16, f16 = DType::float16, f32 = DType::float32, i32 = DType::int32;
  constexpr DType e4 = DType::float8_e4m3fn, e5 = DType::float8_e5m2;
  expect_path("x w", {bf, bf, bf, {2, 8, 32}, {32, 3, 16}, {2, 8, 3, 16}, {2}, {0}, {}, {}}, "cuBLASLt");
  expect_path("x w + bias", {bf, bf, bf, {2, 8, 32}, {32, 48}, {2, 8, 48}, {2}, {0}, {}, {}}, "cuBLASLt", true);
  expect_path("g wᵀ", {bf, bf, bf, {2, 8, 3, 16}, {32, 3, 16}, {2, 8, 32}, {2, 3}, {1, 2}, {}, {}}, "cuBLASLt");
  expect_path("xᵀ g", {bf, bf, f32, {2, 8, 32}, {2, 8, 3, 16}, {32, 3, 16}, {0, 1}, {0, 1}, {}, {}}, "cuBLASLt");
  expect_path("heads", {f16, f16, f16, {2, 8, 4, 16}, {2, 8, 4, 16}, {2, 4, 8, 8}, {3}, {3}, {0, 2}, {0, 2}},
              "cuBLASLt");
  expect_path("odd sizes", {f32, f32, f32, {7, 5}, {5, 3}, {7, 3}, {1}, {0}, {}, {}}, "cuBLASLt");
  expect_path("another result", {bf, bf, f16, {8, 32}, {32, 16}, {8, 16}, {1}, {0}, {}, {}},
              "cuBLASLt, finished apart");
  expect_path("axes that do not merge", {bf, bf, bf, {4, 8, 6}, {8, 16}, {4, 6, 16}, {1}, {0}, {}, {}},
              "cuBLASLt, a laid out anew");
  expect_path("integers", {i32, i32, i32, {8, 32}, {32, 16}, {8, 16}, {1}, {0}, {}, {}}, "ordinary cores");
  expect_path("no depth", {bf, bf, bf, {8, 0}, {0, 16}, {8, 16}, {1}, {0}, {}, {}}, "ordinary cores");

  expect_path("FP8 along the depth", {e4, e5, bf, {2, 8, 32}, {48, 32}, {2, 8, 48}, {2}, {1}, {}, {}}, "cuBLASLt");
  expect_path("FP8 with its bias", {e4, e4, bf, {16, 32}, {48, 32}, {16, 48}, {1}, {1}, {}, {}}, "cuBLASLt", true);
  expect_path("FP8 with a bias that it does not add", {e4, e4, f32, {16, 32}, {48, 32}, {16, 48}, {1}, {1}, {}, {}},
              "cuBLASLt, finished apart", true);
  expect_path("FP8 across", {e4, e4, bf, {16, 32}, {32, 48}, {16, 48}, {1}, {0}, {}, {}}, "cuBLASLt, b laid out anew");
  // A pass has joined the contracted axes of one operand.
  expect_path("FP8 with joined axes", {e4, e4, bf, {16, 64}, {48, 4, 16}, {16, 48}, {1}, {1, 2}, {}, {}}, "cuBLASLt");
  expect_path("FP8 in odd sizes", {e4, e4, bf, {15, 33}, {48, 33}, {15, 48}, {1}, {1}, {}, {}},
              "cuBLASLt, a laid out anew, b laid out anew, finished apart");
  const auto kernel = prepare({e4, e4, bf, {16, 32}, {48, 32}, {16, 48}, {1}, {1}, {}, {}}, false);
  expect(kernel && kernel->scratch_bytes() == 0, "FP8 along the depth needs no scratch");
}

// 32 × 48 × 64, row by row as cuBLASLt's a is when it is transposed.
cuda::MatmulShape shape(cudaDataType_t ab, cudaDataType_t d) {
  return {ab, ab, d, true, false, 32, 48, 64, 64, 64, 32, 1, 0, 0, 0, false, false, false, false, 64, 64, 64};
}
bool does(const cuda::MatmulShape& s) { return !cuda::Matmul(s).recommended(1).empty(); }

void rules() {
  expect(does(shape(CUDA_R_16BF, CUDA_R_16BF)), "bfloat16");
  expect(does(shape(CUDA_R_16BF, CUDA_R_32F)), "bfloat16 to float32");
  expect(!does(shape(CUDA_R_16BF, CUDA_R_16F)), "not bfloat16 to float16");
  expect(!does(shape(CUDA_R_32F, CUDA_R_16BF)), "not float32 to bfloat16");
  cuda::MatmulShape s = shape(CUDA_R_8F_E4M3, CUDA_R_16BF);
  s.scaled = true;
  expect(does(s), "FP8");
  s.a = CUDA_R_8F_E5M2;
  expect(does(s), "both kinds of FP8");
  s.b = CUDA_R_8F_E5M2;
  expect(!does(s), "not float8_e5m2 twice");
  s.b = CUDA_R_8F_E4M3;
  const auto refuses = [&](auto change, const char* what) {
    cuda::MatmulShape changed = s;
    change(changed);
    expect(!does(changed), std::string("FP8 not ") + what);
  };
  refuses([](auto& x) { x.a_transposed = false, x.a_step = 32; }, "across the depth of a");
  refuses([](auto& x) { x.b_transposed = true, x.b_step = 48; }, "across the depth of b");
  refuses([](auto& x) { x.depth = 56; }, "with a depth of 56");
  refuses([](auto& x) { x.columns = 40; }, "with 40 columns");
  refuses([](auto& x) { x.a_step = 72; }, "with steps of 72");
  refuses([](auto& x) { x.a_alignment = 8; }, "at 8 bytes");
  refuses([](auto& x) { x.tf32 = true; }, "in TF32");
  refuses([](auto& x) { x.d = CUDA_R_32F, x.biased = true, x.epilogue = cuda::lt::epilogue::bias; },
          "with a bias of float32");
  cuda::MatmulShape saving = shape(CUDA_R_16BF, CUDA_R_16BF);
  saving.epilogue = cuda::lt::epilogue::gelu_aux, saving.has_aux = true;
  expect(does(saving), "gelu that saves its argument");
  saving.rows = saving.d_step = 28;
  expect(!does(saving), "not in rows of 28");
}

// Sums of either operand over the depth, beside a product: of whole numbers, which bfloat16 holds.
void bias_gradients() {
  const int rows = 6;
  const auto codes = [&](int columns, int seed) {
    std::vector<__nv_bfloat16> x;
    for (int i = 0; i < rows * columns; ++i) x.push_back(__float2bfloat16_rn(static_cast<float>(i * seed % 7 - 3)));
    return x;
  };
  const auto a = codes(8, 5), b = codes(16, 3);
  for (const std::string of : {"a", "b"}) {
    const auto& summed = of == "a" ? a : b;
    const int columns = of == "a" ? 8 : 16;
    Node node;
    node.op = "dot_bias_gradient";
    node.inputs = {{{rows, 8}, DType::bfloat16}, {{rows, 16}, DType::bfloat16}};
    node.outputs = {{{8, 16}, DType::bfloat16}, {{columns}, DType::bfloat16}};
    for (const char* contract : {"lhsContract", "rhsContract"}) node.params.set(contract, Axes{0});
    for (const char* batch : {"lhsBatch", "rhsBatch"}) node.params.set(batch, Axes{});
    node.params.set("of", of);
    const auto results = test::run_node(node, {test::bytes_of(a), test::bytes_of(b)});
    const auto y = test::values_of<__nv_bfloat16>(results[0]), sums = test::values_of<__nv_bfloat16>(results[1]);
    bool same = true;
    for (int j = 0; j < columns; ++j) {
      float sum = 0;
      for (int i = 0; i < rows; ++i) sum += __bfloat162float(summed[static_cast<size_t>(i * columns + j)]);
      same = same && __bfloat162float(sums[static_cast<size_t>(j)]) == sum;
    }
    for (int k = 0; k < 8 * 16; ++k) {
      float sum = 0;
      for (int i = 0; i < rows; ++i)
        sum += __bfloat162float(a[static_cast<size_t>(i * 8 + k / 16)]) *
               __bfloat162float(b[static_cast<size_t>(i * 16 + k % 16)]);
      same = same && __bfloat162float(y[static_cast<size_t>(k)]) == sum;
    }
    expect(same, "a product and the sums of " + of);
  }
}

// A pointer that is not aligned as was promised, and an algorithm of another problem, are refused when it runs.
void promises() {
  void* memory = nullptr;
  cuda::check(cudaMalloc(&memory, 1 << 16), "cudaMalloc");
  cuda::check(cudaMemset(memory, 0, 1 << 16), "cudaMemset");
  char* at = static_cast<char*>(memory);
  cuda::Matmul matmul(shape(CUDA_R_16BF, CUDA_R_16BF)), other(shape(CUDA_R_16BF, CUDA_R_32F));
  const auto algo = matmul.recommended(1).at(0);
  const auto runs = [&](char* a, const cuda::lt::Algo& with) {
    try {
      matmul.run({a, at + (1 << 14), nullptr, nullptr, nullptr, at + (1 << 15)}, with);
      return true;
    } catch (const Error&) {
      return false;
    }
  };
  expect(runs(at, algo), "a product runs");
  expect(!runs(at + 2, algo), "not from a pointer that is not aligned");
  cuda::lt::Algo strange = algo;
  strange.data[2] ^= 1;
  expect(!runs(at, strange) && !matmul.accepts(strange) && matmul.accepts(algo), "not by the algorithm of another");
  cuda::check(cudaStreamSynchronize(cuda::stream()), "products");
  cudaFree(memory);
}

}  // namespace

int main() {
  cuda::cuda_device(0).start_thread();
  paths();
  rules();
  bias_gradients();
  promises();
  std::printf(test::failures ? "%d failures\n" : "ok   the ways of products\n", test::failures);
  return test::failures;
}
