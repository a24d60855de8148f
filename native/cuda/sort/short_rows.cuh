// Rows that are sorted in shared memory: a bitonic network over items of a key and an index, which are all different,
// so that equal keys keep their order.
#pragma once
#include "cuda/primitives.cuh"
#include "cuda/sort/order.cuh"

namespace te::cuda {

struct ShortRows {
  int64_t rows, length, inner;
  int padded_bits, together_bits;  // items of a row in shared memory, rows of a block: powers of two

  __device__ int64_t element(int64_t row, int k) const {
    return inner == 1 ? row * length + k : row / inner * length * inner + row % inner + k * inner;
  }
};

// One stage of the network: items `stride` apart, in runs of `size` that are sorted up and down in turns.
__device__ inline void exchange(uint64_t* items, int pairs, int size, int stride, int within) {
  for (int t = threadIdx.x; t < pairs; t += blockDim.x) {
    const int i = 2 * t - (t & (stride - 1)), j = i + stride;
    const uint64_t a = items[i], b = items[j];
    const bool up = (i & within & size) == 0;
    if (up ? a > b : a < b) items[i] = b, items[j] = a;
  }
}

// blockDim.x is a multiple of 32 and divides half of the items. Pairs up to 32 apart lie in the 64 items that belong to
// one warp.
__device__ inline void sort_items(uint64_t* items, int padded, int count) {
  for (int size = 2; size <= padded; size *= 2) {
    for (int stride = size / 2; stride > 0; stride /= 2) {
      exchange(items, count / 2, size, stride, padded - 1);
      const int next = stride > 1 ? stride / 2 : size;
      if (stride <= 32 && next <= 32)
        __syncwarp();
      else
        __syncthreads();
    }
  }
  __syncthreads();
}

__global__ void __launch_bounds__(512)
    sort_short(const void* x, void* values, int32_t* indices, const ShortRows of, const Order order) {
  uint64_t* items = &block_memory<uint64_t>();
  const int padded = 1 << of.padded_bits, together = 1 << of.together_bits, count = padded * together;
  const int64_t first = static_cast<int64_t>(blockIdx.x) << of.together_bits;
  // Neighbouring threads take neighbouring elements of x: along the rows, or across them.
  const bool along = of.inner == 1;
  for (int t = threadIdx.x; t < count; t += blockDim.x) {
    const int r = along ? t >> of.padded_bits : t & (together - 1),
              k = along ? t & (padded - 1) : t >> of.together_bits;
    const bool inside = first + r < of.rows && k < of.length;
    items[r << of.padded_bits | k] =
        inside ? static_cast<uint64_t>(order.key_of(x, of.element(first + r, k))) << 32 | static_cast<uint32_t>(k)
               : ~uint64_t{0};
  }
  __syncthreads();
  sort_items(items, padded, count);
  for (int t = threadIdx.x; t < count; t += blockDim.x) {
    const int r = along ? t >> of.padded_bits : t & (together - 1),
              k = along ? t & (padded - 1) : t >> of.together_bits;
    if (first + r >= of.rows || k >= of.length) continue;
    const int from = static_cast<int>(static_cast<uint32_t>(items[r << of.padded_bits | k]));
    const int64_t to = of.element(first + r, k);
    order.copy(x, of.element(first + r, from), values, to);
    indices[to] = from;
  }
}

}  // namespace te::cuda
