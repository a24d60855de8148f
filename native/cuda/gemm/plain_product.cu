// Products on the ordinary cores, of operands with any steps: float32, whose sums the tensor cores cannot hold,
// integers with wrapping 32-bit sums, and products without depth, whose result is the bias.
#include "cuda/gemm/arrange.h"
#include "cuda/gemm/product.h"
#include "cuda/gemm/result.cuh"
#include "cuda/gemm/walk.cuh"
#include "cuda/launch.h"
#include "cuda/primitives.cuh"

namespace te::cuda {
namespace {

constexpr int kSide = 128, kDepth = 8, kPadded = kSide + 4;

struct Plain {
  const void *a, *b;
  int64_t m, n, k, a_outer, a_inner, b_outer, b_inner, row_tiles, column_tiles;
  BatchWalk batch;
  ResultOptions result;
};

template <class Sum>
struct alignas(16) Stages {
  Sum a[2][kDepth][kPadded], b[2][kDepth][kPadded];
};

// Four of the 128 × 8 elements of a tile, along whichever axis is contiguous.
template <class In, class Sum>
struct Part {
  Sum value[4];
  __device__ static int row(int i, bool deep) {
    const int e = threadIdx.x + i * 256;
    return deep ? e / kDepth : e % kSide;
  }
  __device__ static int depth(int i, bool deep) {
    const int e = threadIdx.x + i * 256;
    return deep ? e % kDepth : e / kSide;
  }
  __device__ void load(const In* from, int64_t row0, int64_t rows, int64_t depth0, int64_t depths, int64_t outer,
                       int64_t inner, bool deep) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t r = row0 + row(i, deep), d = depth0 + depth(i, deep);
      value[i] = r < rows && d < depths ? static_cast<Sum>(from[r * outer + d * inner]) : Sum{0};
    }
  }
  __device__ void store(Sum (&to)[kDepth][kPadded], bool deep) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) to[depth(i, deep)][row(i, deep)] = value[i];
  }
};

// Four at a time: `from` is aligned to 16 bytes.
template <class Sum>
__device__ void load_four(const Sum* from, Sum* to) {
  const uint4 four = *reinterpret_cast<const uint4*>(from);
  const uint32_t words[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) memcpy(&to[i], &words[i], 4);
}

__device__ void store_sum(const ResultOptions& result, float scale, int64_t at, int64_t column, float sum) {
  store_real(result.dtype, result.y, at, result.value(sum, scale, column));
}
__device__ void store_sum(const ResultOptions& result, float, int64_t at, int64_t, uint32_t sum) {
  store_bits(result.dtype, result.y, at, sum);
}

// A block computes 128 × 128 sums, a thread 8 × 8 of them in four squares; the next tiles come while these are used.
template <class In, class Sum>
__global__ void __launch_bounds__(256, std::is_same_v<Sum, float> ? 2 : 1) plain_product(Plain p) {
  Stages<Sum>& memory = block_memory<Stages<Sum>>();
  const int64_t tiles = p.row_tiles * p.column_tiles, at = blockIdx.x % tiles, batch = blockIdx.x / tiles;
  const int64_t row0 = at / p.column_tiles * kSide, column0 = at % p.column_tiles * kSide;
  const In* a = static_cast<const In*>(p.a) + p.batch.a(batch);
  const In* b = static_cast<const In*>(p.b) + p.batch.b(batch);
  const bool a_deep = p.a_inner == 1, b_deep = p.b_inner == 1;
  const int x = threadIdx.x % 16 * 4, y = threadIdx.x / 16 * 4;
  Sum sums[8][8] = {};
  Part<In, Sum> left, right;
  const int64_t steps = (p.k + kDepth - 1) / kDepth;
  for (int64_t step = 0; step <= steps; ++step) {
    if (step < steps) {
      left.load(a, row0, p.m, step * kDepth, p.k, p.a_outer, p.a_inner, a_deep);
      right.load(b, column0, p.n, step * kDepth, p.k, p.b_outer, p.b_inner, b_deep);
    }
    if (step > 0) {
      const int now = (step - 1) % 2;
#pragma unroll
      for (int d = 0; d < kDepth; ++d) {
        Sum l[8], r[8];
        load_four(&memory.a[now][d][y], l), load_four(&memory.a[now][d][y + 64], l + 4);
        load_four(&memory.b[now][d][x], r), load_four(&memory.b[now][d][x + 64], r + 4);
#pragma unroll
        for (int i = 0; i < 8; ++i)
#pragma unroll
          for (int j = 0; j < 8; ++j) sums[i][j] += l[i] * r[j];
      }
    }
    if (step < steps) {
      left.store(memory.a[step % 2], a_deep);
      right.store(memory.b[step % 2], b_deep);
      __syncthreads();
    }
  }
  const float scale = p.result.scale();
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int64_t row = row0 + y + i / 4 * 64 + i % 4;
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int64_t column = column0 + x + j / 4 * 64 + j % 4;
      if (row < p.m && column < p.n) store_sum(p.result, scale, (batch * p.m + row) * p.n + column, column, sums[i][j]);
    }
  }
}

class PlainProduct : public Product {
 public:
  explicit PlainProduct(const ProductSpec& spec) : spec_(spec) {
    DotDims& dims = spec_.dims;
    // Without depth nothing is read, whatever the dtype.
    const DType type = is_product_integer(dims.a.dtype) ? dims.a.dtype : DType::float32;
    if (dims.k == 0) return;
    arrange(&dims.a, dims.m, type, &a_);
    arrange(&dims.b, dims.n, type, &b_);
  }
  size_t scratch_bytes() const override { return (a_ ? a_->bytes() : 0) + (b_ ? b_->bytes() : 0); }
  std::string path() const override { return "ordinary cores"; }
  void run(const ProductCall& call) override {
    const DotDims& dims = spec_.dims;
    const int64_t rows = (dims.m + kSide - 1) / kSide, columns = (dims.n + kSide - 1) / kSide;
    const int64_t blocks = dims.batches() * rows * columns;
    if (blocks == 0) return;
    char* scratch = static_cast<char*>(call.scratch);
    const void* a = arranged(a_, call.a, scratch);
    const void* b = arranged(b_, call.b, scratch + (a_ ? a_->bytes() : 0));
    const Plain p{a,
                  b,
                  dims.m,
                  dims.n,
                  dims.k,
                  dims.a.outer_step,
                  dims.a.inner_step,
                  dims.b.outer_step,
                  dims.b.inner_step,
                  rows,
                  columns,
                  BatchWalk(dims),
                  {spec_.result, spec_.bias, call.bias, call.a_scale, call.b_scale, call.y}};
    const DType type = is_product_integer(dims.a.dtype) ? dims.a.dtype : DType::float32;
    const Launch shape{dim3(static_cast<unsigned>(blocks)), dim3(256), sizeof(Stages<float>)};
    if (type == DType::float32)
      launch("product", plain_product<float, float>, shape, p);
    else if (dtype_bytes(type) == 4)
      launch("product of integers", plain_product<uint32_t, uint32_t>, shape, p);
    else
      launch("product of integers", plain_product<uint8_t, uint32_t>, shape, p);
  }

 private:
  void arrange(DotOperand* x, int64_t outer, DType type, std::unique_ptr<Arrange>* to) {
    if (!x->copy && x->dtype == type) return;
    *to = std::make_unique<Arrange>(*x, spec_.dims.batch, outer, spec_.dims.k, type, 1);
    *x = (*to)->result();
  }
  static const void* arranged(const std::unique_ptr<Arrange>& arrange, const void* from, char* scratch) {
    if (!arrange) return from;
    arrange->run(from, scratch);
    return scratch;
  }

  ProductSpec spec_;
  std::unique_ptr<Arrange> a_, b_;
};

}  // namespace

std::unique_ptr<Product> make_plain_product(const ProductSpec& spec) { return std::make_unique<PlainProduct>(spec); }

}  // namespace te::cuda
