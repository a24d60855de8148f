// c = a bᵀ for bfloat16 a [m, k] and b [n, k]: a probe of the instructions of Hopper, with the parts that a fast
// attention kernel has. One warp keeps the copy engine busy, four warps multiply, and barriers in shared memory pass
// stages to and fro.
#include <cuda_bf16.h>

#include "cuda/gemm/hopper_product.h"
#include "cuda/hopper.cuh"
#include "cuda/launch.h"

namespace te::cuda {
namespace {

constexpr int kTile = 64, kStages = 3;

struct Stage {
  __nv_bfloat16 a[kTile * kTile], b[kTile * kTile];  // rows of 64 along k, swizzled
};
struct Memory {
  Stage stage[kStages];
  uint64_t full[kStages], empty[kStages];
};

__global__ void __launch_bounds__(160)
    product(const __grid_constant__ CUtensorMap a, const __grid_constant__ CUtensorMap b, __nv_bfloat16* __restrict__ c,
            int m, int n, int k) {
  Memory& memory = block_memory<Memory>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      barrier_init(&memory.full[s], 1);
      barrier_init(&memory.empty[s], 128);
    }
    barriers_ready();
  }
  __syncthreads();
  const int row0 = blockIdx.y * kTile, column0 = blockIdx.x * kTile, steps = (k + kTile - 1) / kTile;
  if (warp == 4) {
    if (lane == 0) {
      for (int i = 0; i < steps; ++i) {
        const int s = i % kStages, turn = i / kStages;
        barrier_wait(&memory.empty[s], turn % 2 ^ 1);
        barrier_arrive_expecting(&memory.full[s], sizeof(Stage));
        copy_box(memory.stage[s].a, &a, &memory.full[s], i * kTile, row0);
        copy_box(memory.stage[s].b, &b, &memory.full[s], i * kTile, column0);
      }
    }
    return;
  }
  float d[32];
  for (int i = 0; i < steps; ++i) {
    const int s = i % kStages, turn = i / kStages;
    barrier_wait(&memory.full[s], turn % 2);
    const uint64_t left = operand(memory.stage[s].a), right = operand(memory.stage[s].b);
    group_begin();
#pragma unroll
    for (int step = 0; step < kTile / 16; ++step)  // 32 bytes further along k
      group_mma_64x64x16(d, left + step * 2, right + step * 2, i > 0 || step > 0);
    group_commit();
    group_wait<0>();
    barrier_arrive(&memory.empty[s]);
  }
#pragma unroll
  for (int i = 0; i < 32; i += 2) {
    const int row = row0 + warp * 16 + lane / 4 + i / 2 % 2 * 8, column = column0 + i / 4 * 8 + lane % 4 * 2;
    if (row >= m) continue;
    if (column < n) c[static_cast<int64_t>(row) * n + column] = __float2bfloat16_rn(d[i]);
    if (column + 1 < n) c[static_cast<int64_t>(row) * n + column + 1] = __float2bfloat16_rn(d[i + 1]);
  }
}

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
                            const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                            CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// Boxes of 64 rows of 64 columns of a row-major matrix.
CUtensorMap boxes(const void* data, int rows, int columns) {
  void* encode = nullptr;
  cudaDriverEntryPointQueryResult found;
  check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, &found),
        "driver");
  const cuuint64_t dims[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[] = {static_cast<cuuint64_t>(columns) * 2};
  const cuuint32_t box[] = {kTile, kTile}, steps[] = {1, 1};
  CUtensorMap map;
  const CUresult status =
      reinterpret_cast<Encode>(encode)(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(data), dims,
                                       strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                       CU_TENSOR_MAP_L2_PROMOTION_L2_128B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) throw Error("backend", "cuTensorMapEncodeTiled refuses the matrix");
  return map;
}

}  // namespace

void hopper_product(const void* a, const void* b, void* c, int m, int n, int k) {
  allow_shared(product, sizeof(Memory));
  launch("hopper_product", product, {dim3((n + kTile - 1) / kTile, (m + kTile - 1) / kTile), dim3(160), sizeof(Memory)},
         boxes(a, m, k), boxes(b, n, k), static_cast<__nv_bfloat16*>(c), m, n, k);
}

}  // namespace te::cuda
