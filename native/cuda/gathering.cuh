// A maximum over the blocks of a kernel, in one launch: every block adds its own, and the last to come writes the
// result.
#pragma once
#include <cstdint>

#include "cuda/gathering.h"

namespace te::cuda {

// The largest `most` of all threads of a one-dimensional grid of whole warps, as the bits of *to.
__device__ inline void gather_maximum(uint32_t most, Gathering* blocks, float* to) {
  __shared__ uint32_t of_warp[32];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) {
    const uint32_t other = __shfl_xor_sync(0xffffffffu, most, offset);
    most = other > most ? other : most;
  }
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = most;
  __syncthreads();
  if (threadIdx.x > 0) return;
  for (unsigned warp = 1; warp < blockDim.x / 32; ++warp) most = of_warp[warp] > most ? of_warp[warp] : most;
  atomicMax(&blocks->most, most);
  __threadfence();  // the maximum is there before the arrival is counted
  if (atomicInc(&blocks->arrived, gridDim.x - 1) < gridDim.x - 1) return;
  __threadfence();
  *to = __uint_as_float(atomicExch(&blocks->most, 0u));
}

}  // namespace te::cuda
