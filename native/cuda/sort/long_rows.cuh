// Rows that are sorted through memory: by digits of 8 bits, the lowest first. A pass counts the digits of each tile,
// adds the counts up, and moves every item to its place; ties keep their order.
#pragma once
#include "cuda/sort/order.cuh"

namespace te::cuda {

constexpr int kDigits = 256, kTileThreads = 256, kItems = 16, kTile = kTileThreads * kItems;
constexpr int kWarps = kTileThreads / 32;

// Keys and indices between passes. Null: those of x in its order, or the results.
struct Items {
  uint32_t* keys;
  int32_t* indices;
};

struct LongRows {
  const void* x;
  void* values;
  int32_t* indices;
  int64_t first_row, length, inner;
  int tiles;
  uint32_t* counts;  // [row, digit, tile]

  __device__ int64_t element(int64_t row, int64_t k) const {
    row += first_row;
    return inner == 1 ? row * length + k : row / inner * length * inner + row % inner + k * inner;
  }
};

__device__ inline uint32_t key_at(const LongRows& of, const Order& order, const Items& from, int64_t row, int64_t k) {
  return from.keys ? from.keys[row * of.length + k] : order.key_of(of.x, of.element(row, k));
}

__global__ void __launch_bounds__(kTileThreads)
    count_digits(const LongRows of, const Order order, const Items from, int shift) {
  __shared__ unsigned counts[kDigits];
  const int64_t row = blockIdx.x / static_cast<unsigned>(of.tiles), tile = blockIdx.x % static_cast<unsigned>(of.tiles);
  counts[threadIdx.x] = 0;
  __syncthreads();
#pragma unroll 4
  for (int j = 0; j < kItems; ++j) {
    const int64_t k = tile * kTile + j * kTileThreads + threadIdx.x;
    if (k < of.length) atomicAdd(&counts[key_at(of, order, from, row, k) >> shift & (kDigits - 1)], 1u);
  }
  __syncthreads();
  of.counts[(row * kDigits + threadIdx.x) * of.tiles + tile] = counts[threadIdx.x];
}

__device__ inline unsigned warp_prefix(unsigned x) {
#pragma unroll
  for (int offset = 1; offset < 32; offset *= 2) {
    const unsigned before = __shfl_up_sync(0xffffffffu, x, offset);
    if (static_cast<int>(threadIdx.x % 32) >= offset) x += before;
  }
  return x;
}

// The sum of the counts before each of a row.
__global__ void __launch_bounds__(1024) add_counts(const LongRows of) {
  __shared__ unsigned sums[32];
  unsigned* counts = of.counts + static_cast<int64_t>(blockIdx.x) * kDigits * of.tiles;
  const int64_t n = static_cast<int64_t>(kDigits) * of.tiles;
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  unsigned before = 0;
  for (int64_t start = 0; start < n; start += 4096) {
    const int64_t i = start + threadIdx.x * 4;  // n is a multiple of 4
    uint4 own = i < n ? *reinterpret_cast<const uint4*>(counts + i) : uint4{0, 0, 0, 0};
    const unsigned total = own.x + own.y + own.z + own.w, prefix = warp_prefix(total);
    if (lane == 31) sums[warp] = prefix;
    __syncthreads();
    if (warp == 0) sums[lane] = warp_prefix(sums[lane]);
    __syncthreads();
    unsigned sum = before + prefix - total + (warp > 0 ? sums[warp - 1] : 0);
    before += sums[31];
    if (i < n) {
      const uint4 at{sum, sum + own.x, sum + own.x + own.y, sum + own.x + own.y + own.z};
      *reinterpret_cast<uint4*>(counts + i) = at;
    }
    __syncthreads();
  }
}

// Lanes of `active` that have the same digit.
__device__ inline unsigned lanes_alike(unsigned active, unsigned digit) {
  unsigned alike = active;
#pragma unroll
  for (int bit = 0; bit < 8; ++bit) {
    const bool set = digit >> bit & 1;
    const unsigned with = __ballot_sync(0xffffffffu, set);
    alike &= set ? with : ~with;
  }
  return alike;
}

// A warp has 512 neighbouring items of the tile, 32 at a time, so that ranks within a digit count in order.
__global__ void __launch_bounds__(kTileThreads)
    move_items(const LongRows of, const Order order, const Items from, const Items to, int shift) {
  __shared__ unsigned places[kWarps][kDigits];
  const int64_t row = blockIdx.x / static_cast<unsigned>(of.tiles), tile = blockIdx.x % static_cast<unsigned>(of.tiles);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t first = tile * kTile + warp * (kTile / kWarps) + lane;
  for (int w = 0; w < kWarps; ++w) places[w][threadIdx.x] = 0;
  __syncthreads();

  uint32_t keys[kItems];
  unsigned ranks[kItems];
#pragma unroll
  for (int j = 0; j < kItems; ++j)
    keys[j] = first + j * 32 < of.length ? key_at(of, order, from, row, first + j * 32) : 0;
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const bool active = first + j * 32 < of.length;
    const unsigned digit = keys[j] >> shift & (kDigits - 1);
    const unsigned alike = lanes_alike(__ballot_sync(0xffffffffu, active), digit);
    const unsigned before = alike & ((1u << lane) - 1);
    if (active) ranks[j] = places[warp][digit] + __popc(before);
    __syncwarp();
    if (active && before == 0) places[warp][digit] += __popc(alike);
    __syncwarp();
  }
  __syncthreads();
  unsigned sum = of.counts[(row * kDigits + threadIdx.x) * of.tiles + tile];
  for (int w = 0; w < kWarps; ++w) {
    const unsigned own = places[w][threadIdx.x];
    places[w][threadIdx.x] = sum;
    sum += own;
  }
  __syncthreads();

#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const int64_t k = first + j * 32;
    if (k >= of.length) break;
    const int64_t place = places[warp][keys[j] >> shift & (kDigits - 1)] + ranks[j];
    const int32_t index = from.indices ? from.indices[row * of.length + k] : static_cast<int32_t>(k);
    if (to.keys) {
      to.keys[row * of.length + place] = keys[j];
      to.indices[row * of.length + place] = index;
    } else {
      order.copy(of.x, of.element(row, index), of.values, of.element(row, place));
      of.indices[of.element(row, place)] = index;
    }
  }
}

}  // namespace te::cuda
