// Sums over the rows of a matrix, dgamma and dbeta: of each thread's columns, then of a block, then of all blocks.
#pragma once
#include "cuda/launch.h"
#include "cuda/primitives.cuh"
#include "cuda/row.cuh"
#include "cuda/values.cuh"

namespace te::cuda {

// Kinds sums of each of a thread's N packs of W columns, in the block's memory: a thread finds its own numbers 16 bytes
// at a time, beside those of its neighbours.
template <int Kinds, int N, int W>
class ColumnSums {
 public:
  // Of dynamic shared memory.
  static size_t shared_bytes(int threads) { return sizeof(float) * Kinds * N * W * static_cast<size_t>(threads); }

  __device__ ColumnSums() {
#pragma unroll
    for (int i = 0; i < Kinds * N * W; i += 4) (&block_memory<float4>())[i / 4 * blockDim.x + threadIdx.x] = float4{};
  }
  // A row's numbers in the columns of pack i.
  __device__ void add(int kind, int i, const float (&x)[W]) {
#pragma unroll
    for (int k = 0; k < W; k += 4) {
      float4& sum = quad(kind, i, k, threadIdx.x);
      const float4 old = sum;
      sum = float4{old.x + x[k], old.y + x[k + 1], old.z + x[k + 2], old.w + x[k + 3]};
    }
  }

  // The sums of all groups of the block, to[kind * pitch + column], in the order of the groups. place: any row's.
  __device__ void finish(const Group& group, const Place<W>& place, float* to, int64_t pitch) {
    __syncthreads();
    if (group.index() > 0) return;
#pragma unroll
    for (int i = 0; i < N; ++i)
#pragma unroll
      for (int kind = 0; kind < Kinds; ++kind) {
        float sum[W] = {};
        for (int thread = group.rank(); thread < blockDim.x; thread += group.size())
#pragma unroll
          for (int k = 0; k < W; k += 4) {
            const float4 x = quad(kind, i, k, thread);
            sum[k] += x.x, sum[k + 1] += x.y, sum[k + 2] += x.z, sum[k + 3] += x.w;
          }
        put_numbers(to + kind * pitch, place, place.column(i), sum);
      }
  }

 private:
  __device__ static float4& quad(int kind, int i, int k, int thread) {
    return (&block_memory<float4>())[((i * Kinds + kind) * (W / 4) + k / 4) * static_cast<int>(blockDim.x) + thread];
  }
};

// to[column] = Σ over parts of sums[(part * kinds + kind) * pitch + column], in the order of the parts by eights.
constexpr int kPartLanes = 8;
template <int Kinds>
__global__ __launch_bounds__(32 * kPartLanes) void add_parts(const float* sums, int parts, int64_t pitch, int columns,
                                                             DType dtype, void* dgamma, void* dbeta) {
  __shared__ float shared[kPartLanes][32];
  const int lane = threadIdx.x % 32, first = threadIdx.x / 32, kind = blockIdx.x % Kinds;
  const int64_t column = static_cast<int64_t>(blockIdx.x / Kinds) * 32 + lane;
  float sum = 0;
  if (column < columns) {
#pragma unroll 4
    for (int part = first; part < parts; part += kPartLanes)
      sum += sums[(static_cast<int64_t>(part) * Kinds + kind) * pitch + column];
  }
  shared[first][lane] = sum;
  __syncthreads();
  if (first > 0 || column >= columns) return;
#pragma unroll
  for (int i = 1; i < kPartLanes; ++i) sum += shared[i][lane];
  store_real(dtype, kind == 0 ? dgamma : dbeta, column, sum);
}

}  // namespace te::cuda
