// Products of bfloat16 and float16 on the tensor cores of every GPU from 8.0 on, for machines without cuBLASLt: a block
// of eight warps computes 128 × 128 sums while the tiles of the steps to come are copied to shared memory. FP8 operands
// become float16 first, which holds them exactly.
#include "cuda/gemm/arrange.h"
#include "cuda/gemm/product.h"
#include "cuda/gemm/result.cuh"
#include "cuda/gemm/walk.cuh"
#include "cuda/launch.h"
#include "cuda/primitives.cuh"

namespace te::cuda {
namespace {

constexpr int kSide = 128, kDepth = 32, kStages = 3, kThreads = 256;

// An operand: `step` is between rows of what is contiguous, and `extent` its length, both multiples of 8.
struct Side {
  const uint16_t* data;
  int64_t outer, step;
  Walk batch;
};

struct Tiles {
  Side a, b;
  int64_t k, row_tiles, column_tiles;
  ResultOptions result;
};

// 128 × 32 elements, in chunks of 8 along whichever axis is contiguous in memory. Eight chunks that ldmatrix reads at
// once lie in different banks.
template <bool Deep>
struct Tile {
  uint4 chunk[kSide * kDepth / 8];

  __device__ static int place(int row, int column) {  // of a chunk
    return Deep ? row * 4 + (column ^ (row / 2 % 4)) : row * 16 + (column ^ (row % 8));
  }
  __device__ void copy_from(const Side& from, const uint16_t* data, int64_t outer0, int64_t depth0, int64_t k) {
#pragma unroll
    for (int i = 0; i < kSide * kDepth / 8 / kThreads; ++i) {
      const int e = threadIdx.x + i * kThreads;
      const int row = Deep ? e / 4 : e / 16, column = Deep ? e % 4 : e % 16;
      const int64_t outer = Deep ? outer0 + row : outer0 + column * 8,
                    depth = Deep ? depth0 + column * 8 : depth0 + row;
      const bool valid = outer < from.outer && depth < k;
      const int64_t at = Deep ? outer * from.step + depth : depth * from.step + outer;
      copy_async(&chunk[place(row, column)], data + (valid ? at : 0), valid);
    }
  }
  // The left operand of one mma: 16 rows from `outer`, 16 deep from `depth`.
  __device__ void left(uint32_t (&r)[4], int outer, int depth) const {
    const int lane = threadIdx.x % 32;
    if constexpr (Deep)
      load_matrices(r, &chunk[place(outer + lane % 16, depth / 8 + lane / 16)]);
    else
      load_matrices_transposed(r, &chunk[place(depth + lane / 16 * 8 + lane % 8, outer / 8 + lane / 8 % 2)]);
  }
  // The right operands of two: 16 columns from `outer`.
  __device__ void right(uint32_t (&r)[4], int outer, int depth) const {
    const int lane = threadIdx.x % 32;
    if constexpr (Deep)
      load_matrices(r, &chunk[place(outer + lane / 16 * 8 + lane % 8, depth / 8 + lane / 8 % 2)]);
    else
      load_matrices_transposed(r, &chunk[place(depth + lane % 16, outer / 8 + lane / 16)]);
  }
};

template <bool ADeep, bool BDeep>
struct Memory {
  Tile<ADeep> a[kStages];
  Tile<BDeep> b[kStages];
};

template <bool Half>
__device__ void multiply(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  if constexpr (Half)
    mma_16x8x16_half(d, a, b);
  else
    mma_16x8x16(d, a, b);
}

// A warp's 64 × 32 sums += the tiles of one step.
template <bool Half, bool ADeep, bool BDeep>
__device__ void add_step(float (&sums)[4][4][4], const Tile<ADeep>& a, const Tile<BDeep>& b, int row, int column) {
#pragma unroll
  for (int depth = 0; depth < kDepth; depth += 16) {
    uint32_t left[4][4], right[4][2];
#pragma unroll
    for (int i = 0; i < 4; ++i) a.left(left[i], row + i * 16, depth);
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
      uint32_t two[4];
      b.right(two, column + j * 8, depth);
      right[j][0] = two[0], right[j][1] = two[1], right[j + 1][0] = two[2], right[j + 1][1] = two[3];
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
#pragma unroll
      for (int j = 0; j < 4; ++j) multiply<Half>(sums[i][j], left[i], right[j]);
  }
}

// Two neighbours of a row, which lie in one word where rows are even.
__device__ void store_two(const ResultOptions& result, float scale, int64_t row, int64_t column, int64_t columns,
                          float first, float second) {
  if (column >= columns) return;
  const int64_t at = row * columns + column;
  const float x = result.value(first, scale, column);
  const bool both = column + 1 < columns;
  const float y = both ? result.value(second, scale, column + 1) : 0;
  if (columns % 2 == 0 && result.dtype == DType::bfloat16) {
    reinterpret_cast<__nv_bfloat162*>(result.y)[at / 2] = __floats2bfloat162_rn(x, y);
  } else if (columns % 2 == 0 && result.dtype == DType::float32) {
    reinterpret_cast<float2*>(result.y)[at / 2] = make_float2(x, y);
  } else {
    store_real(result.dtype, result.y, at, x);
    if (both) store_real(result.dtype, result.y, at + 1, y);
  }
}

template <bool Half, bool ADeep, bool BDeep>
__global__ void __launch_bounds__(kThreads, 2) tile_product(Tiles p) {
  auto& memory = block_memory<Memory<ADeep, BDeep>>();
  const int64_t tiles = p.row_tiles * p.column_tiles, at = blockIdx.x % tiles, batch = blockIdx.x / tiles;
  const int64_t row0 = at / p.column_tiles * kSide, column0 = at % p.column_tiles * kSide;
  const uint16_t *a = p.a.data + p.a.batch(batch), *b = p.b.data + p.b.batch(batch);
  const int warp = threadIdx.x / 32, row = warp / 4 * 64, column = warp % 4 * 32;
  const int steps = static_cast<int>((p.k + kDepth - 1) / kDepth);
  const auto copy = [&](int step) {
    if (step < steps) {
      memory.a[step % kStages].copy_from(p.a, a, row0, int64_t{step} * kDepth, p.k);
      memory.b[step % kStages].copy_from(p.b, b, column0, int64_t{step} * kDepth, p.k);
    }
    commit_copies();
  };
  float sums[4][4][4] = {};
  for (int step = 0; step < kStages - 1; ++step) copy(step);
  for (int step = 0; step < steps; ++step) {
    wait_copies<kStages - 2>();
    __syncthreads();  // every thread's copies are there, and the stage before is read
    copy(step + kStages - 1);
    add_step<Half>(sums, memory.a[step % kStages], memory.b[step % kStages], row, column);
  }
  const float scale = p.result.scale();
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int64_t r = row0 + row + i * 8 + lane / 4;
    if (r >= p.a.outer) continue;
#pragma unroll
    for (int j = 0; j < 4; ++j)
      store_two(p.result, scale, batch * p.a.outer + r, column0 + column + j * 8 + lane % 4 * 2, p.b.outer,
                sums[i / 2][j][i % 2 * 2], sums[i / 2][j][i % 2 * 2 + 1]);
  }
}

template <bool Half>
void launch_tiles(bool a_deep, bool b_deep, unsigned blocks, const Tiles& p) {
  const Launch shape{dim3(blocks), dim3(kThreads), sizeof(Memory<true, true>)};
  if (a_deep && b_deep)
    launch("product", tile_product<Half, true, true>, shape, p);
  else if (a_deep)
    launch("product", tile_product<Half, true, false>, shape, p);
  else if (b_deep)
    launch("product", tile_product<Half, false, true>, shape, p);
  else
    launch("product", tile_product<Half, false, false>, shape, p);
}

class TileProduct : public Product {
 public:
  explicit TileProduct(const ProductSpec& spec) : spec_(spec) {
    DotDims& dims = spec_.dims;
    half_ = dims.a.dtype != DType::bfloat16;
    const DType type = half_ ? DType::float16 : DType::bfloat16;
    arrange(&dims.a, dims.m, type, &a_);
    arrange(&dims.b, dims.n, type, &b_);
  }
  size_t scratch_bytes() const override { return (a_ ? a_->bytes() : 0) + (b_ ? b_->bytes() : 0); }
  std::string path() const override { return "tiles"; }
  void run(const ProductCall& call) override {
    const DotDims& dims = spec_.dims;
    char* scratch = static_cast<char*>(call.scratch);
    const BatchWalk batch(dims);
    const auto side = [&](const DotOperand& x, int64_t outer, const Walk& walk, const std::unique_ptr<Arrange>& arrange,
                          const void* data) {
      if (arrange) {
        arrange->run(data, scratch);
        data = scratch;
        scratch += arrange->bytes();
      }
      return Side{static_cast<const uint16_t*>(data), outer, x.inner_step == 1 ? x.outer_step : x.inner_step, walk};
    };
    Tiles p{side(dims.a, dims.m, batch.a, a_, call.a),
            side(dims.b, dims.n, batch.b, b_, call.b),
            dims.k,
            (dims.m + kSide - 1) / kSide,
            (dims.n + kSide - 1) / kSide,
            {spec_.result, spec_.bias, call.bias, call.a_scale, call.b_scale, call.y}};
    const auto blocks = static_cast<unsigned>(dims.batches() * p.row_tiles * p.column_tiles);
    const bool a_deep = dims.a.inner_step == 1, b_deep = dims.b.inner_step == 1;
    half_ ? launch_tiles<true>(a_deep, b_deep, blocks, p) : launch_tiles<false>(a_deep, b_deep, blocks, p);
  }

 private:
  // Copies go 16 bytes at a time: where rows do not begin or end at such, the operand is laid out anew.
  void arrange(DotOperand* x, int64_t outer, DType type, std::unique_ptr<Arrange>* to) {
    const int64_t k = spec_.dims.k;
    bool fits = !x->copy && x->dtype == type;
    fits =
        fits && (x->inner_step == 1 ? x->outer_step % 8 == 0 && k % 8 == 0 : x->inner_step % 8 == 0 && outer % 8 == 0);
    for (size_t i = 0; i < x->batch_steps.size(); ++i)
      fits = fits && (spec_.dims.batch[i] == 1 || x->batch_steps[i] % 8 == 0);
    if (fits) return;
    *to = std::make_unique<Arrange>(*x, spec_.dims.batch, outer, k, type, 8);
    *x = (*to)->result();
  }

  ProductSpec spec_;
  bool half_;
  std::unique_ptr<Arrange> a_, b_;
};

}  // namespace

std::unique_ptr<Product> make_tile_product(const ProductSpec& spec) {
  const DType a = spec.dims.a.dtype, b = spec.dims.b.dtype;
  const bool fits = (is_float8(a) && is_float8(b)) || (a == b && (a == DType::bfloat16 || a == DType::float16));
  return fits ? std::make_unique<TileProduct>(spec) : nullptr;
}

}  // namespace te::cuda
