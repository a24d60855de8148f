// Attention on tensor cores, for 16-bit elements and depths up to D (FlashAttention-2). A block of four warps has 64 M
// rows; tiles of 64 keys and of their values stream through shared memory, keys arriving while values are used and the
// other way round. Scores and weights never leave registers.
#pragma once
#include "cuda/attention/finish.cuh"
#include "cuda/attention/fragments.cuh"
#include "cuda/attention/tensor.h"
#include "cuda/launch.h"

namespace te::cuda::attention {

template <class T, int D, int M>
struct ForwardMemory {
  Tile<T, kTile * M, D> q;
  Tile<T, kTile, D> k, v;
};

// The scores of 16 M rows, and the largest and total of each so far. General: with a bias, dropout, folded heads, or a
// visibility that does not follow from indices; scores then are in natural units, else scale is still to be applied.
template <int M, bool General>
class RowScores {
 public:
  using Scores = float[M][kTile / 8][4];

  __device__ RowScores(const Operands& a, const ForwardBlock& block, int warp_first)
      : scale_log2_(General ? kLog2e : a.scale * kLog2e), first_(warp_first + threadIdx.x % 32 / 4) {
#pragma unroll
    for (int r = 0; r < 2 * M; ++r) {
      top_[r] = -infinity();
      total_[r] = 0;
      if constexpr (General) {
        const FoldedRow row(a, block.head, first_ + 8 * r);
        head_[r] = row.head.head;
        query_[r] = query_of(a, block.head.b, row.i);
      }
    }
  }

  // Hides what the rows do not see of a tile where only their indices count.
  __device__ void hide_by_index(const Operands& a, int tile, Scores& score) const {
    const int key = tile * kTile + threadIdx.x % 4 * 2;
#pragma unroll
    for (int r = 0; r < 2 * M; ++r) {
      // Counted from the thread's first key.
      const int low = clamp_int(first_ + 8 * r + a.below - key, -kTile, kTile);
      const int high = min(clamp_int(first_ + 8 * r + a.above - key, -kTile, kTile), a.keys - 1 - key);
#pragma unroll
      for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
        for (int i = 0; i < 2; ++i)
          if (n * 8 + i < low || n * 8 + i > high) score[r / 2][n][r % 2 * 2 + i] = -infinity();
    }
  }

  // Scales, adds the bias, and hides what the rows do not see.
  template <class T>
  __device__ void finish(const Operands& a, const ForwardBlock& block, int tile, bool mixed, Scores& score) const {
    const uint32_t seen = mixed ? bits(
                                      [&](int r, int j) {
                                        return Head{block.head.b, head_[r]}.sees(a, query_[r], j);
                                      },
                                      tile)
                                : ~0u;
    if (!a.bias) {
      for_each(tile, score, [&](int, int, int bit, float& s) { s = seen >> bit & 1 ? s * a.scale : -infinity(); });
    } else if (a.bias_dtype == DType::float32) {
      add_bias<float>(a, block, tile, seen, score);
    } else {
      add_bias<T>(a, block, tile, seen, score);
    }
  }

  // Hides the weights that dropout drops.
  __device__ void drop(const Operands& a, const ForwardBlock& block, int tile, uint2 key, Scores& score) const {
    const uint32_t kept = bits(
        [&](int r, int j) {
          return Head{block.head.b, head_[r]}.keeps(a, query_[r].index, j, key);
        },
        tile);
    for_each(tile, score, [&](int, int, int bit, float& s) { s = kept >> bit & 1 ? s : 0.0f; });
  }

  // Turns scores into weights, and rescales what was summed under the previous largest.
  template <int N>
  __device__ void weigh(Scores& score, float (&out)[M][N][4]) {
#pragma unroll
    for (int r = 0; r < 2 * M; ++r) {
      float best = top_[r];
#pragma unroll
      for (int n = 0; n < kTile / 8; ++n)
        best = fmaxf(best, fmaxf(score[r / 2][n][r % 2 * 2], score[r / 2][n][r % 2 * 2 + 1]));
      best = quad_max(best);
      const float base = best == -infinity() ? 0.0f : best;
      const float shrink = exp2_fast((top_[r] - base) * scale_log2_);
      top_[r] = best;
      float part = 0;
#pragma unroll
      for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
        for (int i = r % 2 * 2; i < r % 2 * 2 + 2; ++i) {
          float& s = score[r / 2][n][i];
          s = General ? exp2_fast((s - base) * scale_log2_) : exp2_fast(fmaf(s, scale_log2_, -base * scale_log2_));
          part += s;
        }
      total_[r] = fmaf(total_[r], shrink, part);
#pragma unroll
      for (int n = 0; n < N; ++n) out[r / 2][n][r % 2 * 2] *= shrink, out[r / 2][n][r % 2 * 2 + 1] *= shrink;
    }
  }

  template <class T, int N>
  __device__ void store(const Operands& a, const ForwardBlock& block, const float (&out)[M][N][4]) {
    const int pair = threadIdx.x % 4 * 2;
#pragma unroll
    for (int r = 0; r < 2 * M; ++r) {
      const float total = quad_sum(total_[r]);
      const FoldedRow row(a, block.head, first_ + 8 * r);
      if (!row.inside) continue;
      const RowEnd<T> end(a, block, row, General ? top_[r] : top_[r] * a.scale, total, pair == 0);
#pragma unroll
      for (int n = 0; n < N; ++n) {
        const int column = n * 8 + pair;
        const float low = out[r / 2][n][r % 2 * 2], high = out[r / 2][n][r % 2 * 2 + 1];
        if (column + 1 < a.value_depth && a.value_depth % 2 == 0) {
          end.store_pair(column, low, high);
        } else {
          if (column < a.value_depth) end.store(column, low);
          if (column + 1 < a.value_depth) end.store(column + 1, high);
        }
      }
    }
  }

 private:
  // f(row, key, number of the element, score).
  template <class F>
  static __device__ void for_each(int tile, Scores& score, const F& f) {
    const int first = tile * kTile + threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) f(i / 2, first + n * 8 + i % 2, n * 4 + i, score[0][n][i]);
  }
  // A bit for each element of the thread. A loop that is not unrolled: what it asks may be long.
  template <class F>
  static __device__ uint32_t bits(const F& f, int tile) {
    const int first = tile * kTile + threadIdx.x % 4 * 2;
    uint32_t all = 0;
#pragma unroll 1
    for (int n = 0; n < kTile / 8; ++n)
#pragma unroll 1
      for (int i = 0; i < 4; ++i)
        if (f(i / 2, first + n * 8 + i % 2)) all |= 1u << (n * 4 + i);
    return all;
  }
  template <class B>
  __device__ void add_bias(const Operands& a, const ForwardBlock& block, int tile, uint32_t seen, Scores& score) const {
    const B* rows[2];
    for (int r = 0; r < 2; ++r) {
      const Head head{block.head.b, head_[r]};
      rows[r] = static_cast<const B*>(a.bias) + head.bias_row(a, query_[r].index);
    }
    for_each(tile, score, [&](int r, int j, int bit, float& s) {
      const float bias = j < a.keys ? a.bias_scale * static_cast<float>(rows[r][j]) : -infinity();
      s = seen >> bit & 1 && bias != -infinity() ? fmaf(s, a.scale, bias) : -infinity();
    });
  }

  float scale_log2_;
  int first_;  // of the thread's rows
  float top_[2 * M], total_[2 * M];
  int head_[General ? 2 * M : 1];
  Query query_[General ? 2 * M : 1];
};

template <class T, int D, int M, bool General>
__global__ void __launch_bounds__(kThreads, 2) tensor_attention(const __grid_constant__ Operands a) {
  auto& memory = block_memory<ForwardMemory<T, D, M>>();
  __shared__ int spoilt;
  const ForwardBlock block(a, kTile * M);
  const int warp_row = threadIdx.x / 32 * 16 * M, warp_first = block.first + warp_row;
  const int count = a.fold * a.queries, group = block.head.head / (a.heads / a.groups), b = block.head.b;
  const T* q = static_cast<const T*>(a.q) + a.q_rows.at(b, 0, block.head.head);
  const T* k = static_cast<const T*>(a.k) + a.k_rows.at(b, 0, group);
  const T* v = static_cast<const T*>(a.v) + a.v_rows.at(b, 0, group);
  const bool active = warp_first < count;

  const auto load_keys = [&](int tile) {
    load_tile(memory.k, k, HeadRows{a.k_rows.position}, tile * kTile, a.keys, a.depth, a.depth % 8 == 0);
    commit_copies();
  };
  const auto next_tile = [&](int tile) {
    if constexpr (General)
      while (tile < block.tiles.last && block.state(a, tile) == TileState::hidden) ++tile;
    return tile;
  };
  const auto mixed = [&](int tile) {
    if (General && a.states) return block.state(a, tile) == TileState::mixed;
    const int64_t low = a.fold > 1 ? 0 : warp_first, high = a.fold > 1 ? a.queries - 1 : warp_first + 16 * M - 1;
    return (tile + 1) * kTile > a.keys || (tile + 1) * kTile - 1 > low + a.above || tile * kTile < high + a.below;
  };

  int tile = next_tile(block.tiles.first);
  if constexpr (General)
    load_tile(memory.q, q, FoldedRows{a.q_rows.position, a.q_rows.head, a.queries}, block.first, count, a.depth,
              a.depth % 8 == 0);
  else
    load_tile(memory.q, q, HeadRows{a.q_rows.position}, block.first, count, a.depth, a.depth % 8 == 0);
  if (tile < block.tiles.last) load_keys(tile);

  RowScores<M, General> rows(a, block, warp_first);
  float out[M][D / 8][4] = {};
  while (tile < block.tiles.last) {
    wait_copies<0>();
    __syncthreads();  // the keys are there, and nobody uses the previous values any more
    load_tile(memory.v, v, HeadRows{a.v_rows.position}, tile * kTile, a.keys, a.value_depth, a.value_depth % 8 == 0);
    commit_copies();
    float score[M][kTile / 8][4] = {};
    if (active) multiply_transposed(score, memory.q, warp_row, memory.k);
    wait_copies<0>();
    __syncthreads();  // the values are there, and nobody uses the keys any more
    const int next = next_tile(tile + 1);
    if (next < block.tiles.last) load_keys(next);
    if (active) {
      const bool is_mixed = mixed(tile);
      if constexpr (General)
        rows.template finish<T>(a, block, tile, is_mixed, score);
      else if (is_mixed)
        rows.hide_by_index(a, tile, score);
      rows.weigh(score, out);
      if constexpr (General)
        if (a.key) rows.drop(a, block, tile, dropout_key(a), score);
      multiply<M, T, kTile, D, D>(out, score, memory.v);
    }
    tile = next;
  }
  wait_copies<0>();

  const bool is_spoilt = any_of_block(!all_finite(out), spoilt);
  if (threadIdx.x < M) block.mark(a, block.first + threadIdx.x * kTile, is_spoilt);
  if (active && !is_spoilt) rows.template store<T>(a, block, out);
}

template <class T, int D, int M, bool General>
void launch_forward(const Operands& a) {
  const size_t bytes = sizeof(ForwardMemory<T, D, M>);
  allow_shared(tensor_attention<T, D, M, General>, bytes);
  launch("attention", tensor_attention<T, D, M, General>, {dim3(forward_blocks(a, kTile * M)), dim3(kThreads), bytes},
         a);
}

template <class T>
void tensor_forward_of(const Operands& a) {
  const int depth = std::max(a.depth, a.value_depth);
  const bool plain = !a.bias && !a.states && !a.key && a.scale > 0 && a.fold == 1 && a.splits == 1;
  // Blocks of 128 rows where there are enough for all multiprocessors, and where their sums fit into registers.
  const bool many = forward_blocks(a, 2 * kTile) >= static_cast<unsigned>(context().properties.multiProcessorCount);
  if (depth <= 64)
    plain&& many ? launch_forward<T, 64, 2, false>(a) : launch_forward<T, 64, 1, true>(a);
  else if (depth <= 128)
    plain ? launch_forward<T, 128, 1, false>(a) : launch_forward<T, 128, 1, true>(a);
  else
    launch_forward<T, 256, 1, true>(a);
}

}  // namespace te::cuda::attention
