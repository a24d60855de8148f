// Tiles of 16-bit rows in shared memory, and what tensor cores take from them. With g = lane / 4 and t = 2 (lane % 4)
// an accumulator of 16×8 holds elements (g, t), (g, t + 1), (g + 8, t), (g + 8, t + 1).
#pragma once
#include <cstring>

#include "cuda/attention/operands.cuh"
#include "cuda/primitives.cuh"

namespace te::cuda::attention {

constexpr int kWarps = 4, kThreads = 32 * kWarps;

// Rows of D elements. The 16-byte chunks of a row are permuted, so that eight rows of one column lie in different
// banks.
template <class T, int Rows, int D>
struct Tile {
  T data[Rows * D];
  static constexpr int kRowBytes = D * sizeof(T);
  __device__ T* at(int row, int chunk) { return data + row * D + (chunk ^ row % 8) * 8; }
  // N rows from `first` on, a multiple of 8.
  template <int N>
  __device__ Tile<T, N, D>& rows(int first) {
    return reinterpret_cast<Tile<T, N, D>&>(data[first * D]);
  }
  // Of a chunk below 8. Row + 8 n is at … + 8 n kRowBytes.
  __device__ SharedAddress address(int row, int chunk) { return at(row, chunk); }
  // Chunk + 2 d of the row with `chunk` below 2: chunks are permuted among eight, so that four addresses and constant
  // distances reach all.
  static __device__ SharedAddress along(SharedAddress chunk, int d) {
    return chunk.flipped(d % 4 * 32) + static_cast<uint32_t>(d / 4 * 128);
  }
};

// Where the rows of a tile come from: row r is r positions behind `base`, for blocks of folded heads see FoldedRows.
struct HeadRows {
  int64_t position;
  __device__ int64_t operator()(int row) const { return row * position; }
};
struct FoldedRows {
  int64_t position, head;
  int per_head;
  __device__ int64_t operator()(int row) const {
    const int n = row < per_head ? 0 : row / per_head;
    return n * head + (row - n * per_head) * position;
  }
};

// Starts copying rows [first, first + Rows) of `width` elements, zeros outside of `count` and `width`. Rows that do not
// start at multiples of 16 bytes are copied element by element.
template <class T, int Rows, int D, class Offset>
__device__ void load_tile(Tile<T, Rows, D>& tile, const T* base, const Offset& offset, int first, int count, int width,
                          bool aligned) {
  constexpr int kChunks = D / 8, kStep = kThreads / kChunks;  // rows that are copied at once
  if (aligned) {
    const int chunk = threadIdx.x % kChunks, row0 = threadIdx.x / kChunks;
    const int rows = chunk * 8 < width ? count - first : 0;
#pragma unroll 4
    for (int row = 0; row < Rows; row += kStep)
      copy_async(tile.at(row0 + row, chunk), base + offset(first + row0 + row) + chunk * 8, row0 + row < rows);
    return;
  }
#pragma unroll 1
  for (int e = threadIdx.x; e < Rows * D; e += kThreads) {
    const int row = first + e / D, d = e % D;
    const bool inside = row < count && d < width;
    tile.at(e / D, d / 8)[d % 8] = inside ? base[offset(row) + d] : rounded<T>(0.0f);
  }
}

__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __nv_bfloat16) {
  mma_16x8x16(d, a, b);
}
__device__ inline void mma(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], __half) {
  mma_16x8x16_half(d, a, b);
}

__device__ inline uint32_t pack(float low, float high, __nv_bfloat16) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, 4);
  return bits;
}
__device__ inline uint32_t pack(float low, float high, __half) {
  const __half2 pair = __floats2half2_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, 4);
  return bits;
}

// Accumulators of 16 rows and 16 columns as the left operand of a product.
template <class T>
__device__ void as_left(uint32_t (&a)[4], const float (&left)[4], const float (&right)[4]) {
  a[0] = pack(left[0], left[1], T());
  a[1] = pack(left[2], left[3], T());
  a[2] = pack(right[0], right[1], T());
  a[3] = pack(right[2], right[3], T());
}

// sum += left rows [row, row + 16 M) times the rows of `right` transposed: scores of Rows columns.
template <int M, class T, int LeftRows, int Rows, int D>
__device__ void multiply_transposed(float (&sum)[M][Rows / 8][4], Tile<T, LeftRows, D>& left, int row,
                                    Tile<T, Rows, D>& right) {
  using Right = Tile<T, Rows, D>;
  constexpr uint32_t kBytes = Right::kRowBytes;
  const int lane = threadIdx.x % 32;
  const SharedAddress from_left = left.address(row + lane % 16, lane / 16);
  const SharedAddress from_right = right.address(lane / 16 * 8 + lane % 8, lane / 8 % 2);
#pragma unroll
  for (int d = 0; d < D / 16; ++d) {
    uint32_t a[M][4];
#pragma unroll
    for (int m = 0; m < M; ++m) load_matrices(a[m], Right::along(from_left, d) + m * 16 * kBytes);
#pragma unroll
    for (int n = 0; n < Rows / 16; ++n) {
      uint32_t b[4];
      load_matrices(b, Right::along(from_right, d) + n * 16 * kBytes);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        mma(sum[m][2 * n], a[m], {b[0], b[1]}, T());
        mma(sum[m][2 * n + 1], a[m], {b[2], b[3]}, T());
      }
    }
  }
}

// sum += weights (accumulators of Rows columns) times columns [first, first + Columns) of `right`.
template <int M, class T, int Rows, int D, int Columns>
__device__ void multiply(float (&sum)[M][Columns / 8][4], const float (&weights)[M][Rows / 8][4],
                         Tile<T, Rows, D>& right, int first = 0) {
  using Right = Tile<T, Rows, D>;
  constexpr uint32_t kBytes = Right::kRowBytes;
  const int lane = threadIdx.x % 32;
  const SharedAddress from = Right::along(right.address(lane % 16, lane / 16), first / 16);
#pragma unroll
  for (int n = 0; n < Rows / 16; ++n) {
    uint32_t a[M][4];
#pragma unroll
    for (int m = 0; m < M; ++m) as_left<T>(a[m], weights[m][2 * n], weights[m][2 * n + 1]);
#pragma unroll
    for (int d = 0; d < Columns / 16; ++d) {
      uint32_t b[4];
      load_matrices_transposed(b, Right::along(from, d) + n * 16 * kBytes);
#pragma unroll
      for (int m = 0; m < M; ++m) {
        mma(sum[m][2 * d], a[m], {b[0], b[1]}, T());
        mma(sum[m][2 * d + 1], a[m], {b[2], b[3]}, T());
      }
    }
  }
}

// Over the four lanes that share rows of an accumulator.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Whether x holds on some thread of the block.
__device__ inline bool any_of_block(bool x, int& shared) {
  __syncthreads();
  if (threadIdx.x == 0) shared = 0;
  __syncthreads();
  if (x) atomicOr(&shared, 1);
  __syncthreads();
  return shared != 0;
}

template <int M, int N>
__device__ bool all_finite(const float (&sum)[M][N][4]) {
  // NaN and infinities survive sums of 0 x.
  float zero = 0;
#pragma unroll
  for (int m = 0; m < M; ++m)
#pragma unroll
    for (int n = 0; n < N; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) zero = fmaf(0.0f, sum[m][n][i], zero);
  return zero == 0;
}

}  // namespace te::cuda::attention
