// attention(q, k, v) → (o, lse), forward, bfloat16, heads of 32, 64 or 128 elements, layout [batch, sequence, heads,
// d].
//
//   s = scale q kᵀ, masked        p = softmax(s)        o = p v        lse = max s + ln Σ exp(s - max s)
//
// A block of four warps computes 64 rows of o. Tiles of 64 keys and values stream through shared memory, the next one
// while this one is used; scores and probabilities never leave registers (FlashAttention-2).
#include <cuda_bf16.h>

#include <cmath>
#include <cstdint>

#include "cuda/attention/attention_forward.h"
#include "cuda/launch.h"
#include "cuda/primitives.cuh"

namespace te::cuda {
namespace {

constexpr int kWarps = 4, kRows = 16 * kWarps, kKeys = 64;
constexpr float kLog2e = 1.4426950408889634f, kLn2 = 0.6931471805599453f;

// A tile of rows of D elements in shared memory. The 16-byte chunks of a row are permuted, so that eight rows of one
// column lie in different banks.
template <int D>
struct Tile {
  __nv_bfloat16 data[64 * D];
  static __device__ int offset(int row, int chunk) {
    constexpr int kChunks = D / 8;
    const int turn = kChunks >= 8 ? row % 8 : row / 2 % kChunks;
    return row * D + (chunk ^ turn) * 8;
  }
  __device__ __nv_bfloat16* at(int row, int chunk) { return data + offset(row, chunk); }
};

template <int D>
struct BlockMemory {
  Tile<D> q, k[2], v[2];
};

struct Shape {
  int queries, keys, heads, groups;  // groups: heads of q that share one of k and v
  float scale_log2;
  bool causal;
  int diagonal;  // row i sees keys up to i + diagonal
};

// Starts copying rows [first, first + 64) of one head.
template <int D>
__device__ void load_tile(Tile<D>& tile, const __nv_bfloat16* head, int64_t stride, int first, int rows) {
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = 0; i < 64 * kChunks / (kWarps * 32); ++i) {
    const int index = i * kWarps * 32 + threadIdx.x, row = index / kChunks, chunk = index % kChunks;
    const bool inside = first + row < rows;
    copy_async(tile.at(row, chunk), head + (inside ? first + row : 0) * stride + chunk * 8, inside);
  }
}

__device__ inline uint32_t pack(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  uint32_t bits;
  memcpy(&bits, &pair, 4);
  return bits;
}

__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}
__device__ inline float quad_sum(float x) {
  x += __shfl_xor_sync(0xffffffffu, x, 1);
  return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

template <int D>
__global__ void __launch_bounds__(kWarps * 32)
    attention_rows(const __nv_bfloat16* __restrict__ q, const __nv_bfloat16* __restrict__ k,
                   const __nv_bfloat16* __restrict__ v, __nv_bfloat16* __restrict__ o, float* __restrict__ lse,
                   Shape shape) {
  BlockMemory<D>& memory = block_memory<BlockMemory<D>>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, quad = lane / 4, pair = lane % 4 * 2;
  const int head = blockIdx.y, batch = blockIdx.z;
  const int first_row = (gridDim.x - 1 - blockIdx.x) * kRows;  // the longest rows first
  const int kv_heads = shape.heads / shape.groups;
  const int64_t q_stride = static_cast<int64_t>(shape.heads) * D, kv_stride = static_cast<int64_t>(kv_heads) * D;
  const __nv_bfloat16* q_head = q + batch * shape.queries * q_stride + head * D;
  const __nv_bfloat16* k_head = k + batch * shape.keys * kv_stride + head / shape.groups * D;
  const __nv_bfloat16* v_head = v + batch * shape.keys * kv_stride + head / shape.groups * D;

  const int last_key = shape.causal ? min(shape.keys, first_row + kRows + shape.diagonal) : shape.keys;
  const int tiles = max(0, (last_key + kKeys - 1) / kKeys);

  load_tile(memory.q, q_head, q_stride, first_row, shape.queries);
  if (tiles > 0) load_tile(memory.k[0], k_head, kv_stride, 0, shape.keys);
  commit_copies();
  if (tiles > 0) load_tile(memory.v[0], v_head, kv_stride, 0, shape.keys);
  commit_copies();

  uint32_t q_part[D / 16][4];
  float out[D / 8][4] = {};
  float top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};  // of rows quad and quad + 8

  for (int tile = 0; tile < tiles; ++tile) {
    const int now = tile % 2, next = 1 - now;
    wait_copies<1>();  // keys of this tile (and q); the values may be under way
    __syncthreads();
    if (tile == 0) {
#pragma unroll
      for (int d = 0; d < D / 16; ++d) load_matrices(q_part[d], memory.q.at(warp * 16 + lane % 16, d * 2 + lane / 16));
    }
    if (tile + 1 < tiles) load_tile(memory.k[next], k_head, kv_stride, (tile + 1) * kKeys, shape.keys);
    commit_copies();

    float score[kKeys / 8][4] = {};
#pragma unroll
    for (int d = 0; d < D / 16; ++d) {
#pragma unroll
      for (int n = 0; n < kKeys / 16; ++n) {
        uint32_t b[4];
        load_matrices(b, memory.k[now].at(n * 16 + lane / 16 * 8 + lane % 8, d * 2 + lane / 8 % 2));
        mma_16x8x16(score[2 * n], q_part[d], {b[0], b[1]});
        mma_16x8x16(score[2 * n + 1], q_part[d], {b[2], b[3]});
      }
    }

    const int key0 = tile * kKeys;
    const bool edge =
        key0 + kKeys > shape.keys || (shape.causal && key0 + kKeys - 1 > first_row + warp * 16 + shape.diagonal);
    if (edge) {
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int key = key0 + n * 8 + pair + i % 2, row = first_row + warp * 16 + quad + i / 2 * 8;
          if (key >= shape.keys || (shape.causal && key > row + shape.diagonal)) score[n][i] = -INFINITY;
        }
    }

#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float best = top[r];
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) best = fmaxf(best, fmaxf(score[n][2 * r], score[n][2 * r + 1]));
      best = quad_max(best);
      const float base = best == -INFINITY ? 0.0f : best * shape.scale_log2;
      const float shrink = exp2_fast(top[r] * shape.scale_log2 - base);
      top[r] = best;
      float part = 0;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n)
#pragma unroll
        for (int i = 2 * r; i < 2 * r + 2; ++i) {
          score[n][i] = exp2_fast(score[n][i] * shape.scale_log2 - base);
          part += score[n][i];
        }
      sum[r] = sum[r] * shrink + part;
#pragma unroll
      for (int d = 0; d < D / 8; ++d) out[d][2 * r] *= shrink, out[d][2 * r + 1] *= shrink;
    }

    wait_copies<1>();  // the values of this tile; the next keys may be under way
    __syncthreads();
    if (tile + 1 < tiles) load_tile(memory.v[next], v_head, kv_stride, (tile + 1) * kKeys, shape.keys);
    commit_copies();
#pragma unroll
    for (int n = 0; n < kKeys / 16; ++n) {
      const uint32_t a[4] = {pack(score[2 * n][0], score[2 * n][1]), pack(score[2 * n][2], score[2 * n][3]),
                             pack(score[2 * n + 1][0], score[2 * n + 1][1]),
                             pack(score[2 * n + 1][2], score[2 * n + 1][3])};
#pragma unroll
      for (int d = 0; d < D / 16; ++d) {
        uint32_t b[4];
        load_matrices_transposed(b, memory.v[now].at(n * 16 + lane % 16, d * 2 + lane / 16));
        mma_16x8x16(out[2 * d], a, {b[0], b[1]});
        mma_16x8x16(out[2 * d + 1], a, {b[2], b[3]});
      }
    }
  }

#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float total = quad_sum(sum[r]), inverse = total > 0 ? 1 / total : 0.0f;
    const int row = first_row + warp * 16 + quad + 8 * r;
    if (row >= shape.queries) continue;
    if (lane % 4 == 0)
      lse[(static_cast<int64_t>(batch) * shape.heads + head) * shape.queries + row] =
          total > 0 ? top[r] * shape.scale_log2 * kLn2 + logf(total) : -INFINITY;
    __nv_bfloat16* to = o + (static_cast<int64_t>(batch) * shape.queries + row) * q_stride + head * D;
#pragma unroll
    for (int d = 0; d < D / 8; ++d)
      *reinterpret_cast<uint32_t*>(to + d * 8 + pair) = pack(out[d][2 * r] * inverse, out[d][2 * r + 1] * inverse);
  }
}

template <int D>
void run(const AttentionProblem& p, const void* q, const void* k, const void* v, void* o, float* lse) {
  const Shape shape{p.queries,
                    p.keys,
                    p.heads,
                    p.heads / p.kv_heads,
                    p.scale * kLog2e,
                    p.causal,
                    p.bottom_right ? p.keys - p.queries : 0};
  const size_t bytes = sizeof(BlockMemory<D>);
  allow_shared(attention_rows<D>, bytes);
  const dim3 grid((p.queries + kRows - 1) / kRows, p.heads, p.batch);
  launch("attention", attention_rows<D>, {grid, dim3(kWarps * 32), bytes}, static_cast<const __nv_bfloat16*>(q),
         static_cast<const __nv_bfloat16*>(k), static_cast<const __nv_bfloat16*>(v), static_cast<__nv_bfloat16*>(o),
         lse, shape);
}

}  // namespace

bool attention_forward(const AttentionProblem& p, const void* q, const void* k, const void* v, void* o, float* lse) {
  if (p.d == 32) return run<32>(p, q, k, v, o, lse), true;
  if (p.d == 64) return run<64>(p, q, k, v, o, lse), true;
  if (p.d == 128) return run<128>(p, q, k, v, o, lse), true;
  return false;
}

}  // namespace te::cuda
