// Tiles of attention on Hopper: how they lie in shared memory, which of a group's scores are hidden, and the products
// of a group of four warps with them.
#pragma once
#include "cuda/attention/operands.cuh"
#include "cuda/hopper.cuh"

namespace te::cuda::attention {

// Rows of D elements as the copy engine brings them: columns of 64 elements, one after the other.
template <class T, int D, int Rows>
struct alignas(1024) HopperTile {
  static constexpr int kColumns = D / 64, kColumnBytes = Rows * 128;
  T data[kColumns][Rows][64];

  // As an operand whose rows, from `first` (a multiple of 8) on, are those of the product: step d covers elements 16 d
  // …
  __device__ uint64_t rows(int first, int d) const { return operand(data[d / 4][first]) + d % 4 * 2; }
  // As one whose rows 16 n … are summed over.
  __device__ uint64_t across(int n) const { return operand_across(data[0][0], kColumnBytes) + n * 128; }

  __device__ void load(const CUtensorMap& map, uint64_t* barrier, int head, int first, int batch) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) copy_box(data[c], &map, barrier, c * 64, head, first, batch);
  }
};

// s (64×Rows) = a bᵀ for 64 rows of a, from `first` on, and all of b.
template <class T, int D, int RowsA, int Rows>
__device__ void multiply_rows(float (&s)[Rows / 2], const HopperTile<T, D, RowsA>& a, int first,
                              const HopperTile<T, D, Rows>& b) {
#pragma unroll
  for (int d = 0; d < D / 16; ++d) group_mma<T, Rows>(s, a.rows(first, d), b.rows(0, d), d > 0);
}
// o (64×D) += p b with p (64×Rows) in registers.
template <class T, int D, int Rows>
__device__ void accumulate_rows(float (&o)[D / 2], const uint32_t (&p)[Rows / 4], const HopperTile<T, D, Rows>& b) {
#pragma unroll
  for (int n = 0; n < Rows / 16; ++n) group_mma<T, D>(o, p + 4 * n, b.across(n), true);
}

// What is to be multiplied next, from the layout of a product: two numbers of one row beside each other.
template <class T>
__device__ inline uint32_t pack_pair(float low, float high) {
  uint32_t bits;
  if constexpr (std::is_same_v<T, __half>) {
    const __half2 pair = __floats2half2_rn(low, high);
    memcpy(&bits, &pair, 4);
  } else {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    memcpy(&bits, &pair, 4);
  }
  return bits;
}
template <class T, int N>
__device__ void pack_rows(uint32_t (&p)[N / 2], const float (&s)[N]) {
#pragma unroll
  for (int i = 0; i < N / 2; ++i) p[i] = pack_pair<T>(s[2 * i], s[2 * i + 1]);
}

// Place of a thread in its group's products: of element i its row is row + 8 (i / 2 % 2), its column
// column + i / 4 * 8 + i % 2.
struct GroupLane {
  int warp, lane, row, column;
  __device__ GroupLane()
      : warp(threadIdx.x / 32 % 4), lane(threadIdx.x % 32), row(warp * 16 + lane / 4), column(lane % 4 * 2) {}
};

// Over the four threads that share a row.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

// Tiles of `size` that hold [low, high), from first to last - 1.
__device__ inline Span tiles_over(int low, int high, int size) {
  return {low / size, low < high ? (high + size - 1) / size : low / size};
}

// Writes rows of a group's product, 16 bytes a thread: the four threads of a row trade their pairs.
template <class T, int D>
__device__ void store_product(const float (&o)[D / 2], const float (&scale)[2], T* const (&to)[2],
                              const bool (&inside)[2]) {
  const int t = threadIdx.x % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r)
#pragma unroll
    for (int j = 0; j < D / 32; ++j) {
      uint32_t x[4];
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        const int i = (4 * j + c) * 4 + 2 * r;
        x[c] = pack_pair<T>(o[i] * scale[r], o[i + 1] * scale[r]);
      }
      // A transposition of four by four: x[c] of thread t becomes x[t] of thread c.
#pragma unroll
      for (int bit = 1; bit < 4; bit *= 2)
#pragma unroll
        for (int c = 0; c < 4; ++c) {
          if (c & bit) continue;
          const bool upper = t & bit;
          const uint32_t got = __shfl_xor_sync(0xffffffffu, upper ? x[c] : x[c | bit], bit);
          (upper ? x[c] : x[c | bit]) = got;
        }
      if (inside[r]) *reinterpret_cast<uint4*>(to[r] + (4 * j + t) * 8) = make_uint4(x[0], x[1], x[2], x[3]);
    }
}

// Whether a number of a product is not finite.
template <int N>
__device__ bool is_suspect(const float (&o)[N]) {
  float probe = 0;
#pragma unroll
  for (int i = 0; i < N; ++i) probe = fmaf(o[i], 0.0f, probe);
  return probe != 0;
}

// The bytes of suspect rows, a warp's at a time: [batch · heads, tiles of 64, 4].
struct Suspects {
  uint8_t* bytes;
  int tiles;
  __device__ uint8_t* of(int head, int position) const {
    return bytes + (static_cast<int64_t>(head) * tiles + position / kTile) * 4;
  }
  __device__ bool any(int head, int position) const {
    return *reinterpret_cast<const uint32_t*>(of(head, position)) != 0;
  }
};

}  // namespace te::cuda::attention
