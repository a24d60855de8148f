// Attention on tensor cores, for 16-bit elements and depths up to D (FlashAttention-2). A block of four warps has 64 M
// rows; tiles of 64 keys and of their values stream through shared memory, keys arriving while values are used and the
// other way round. Scores and weights never leave registers.
#pragma once
#include "cuda/attention/fragments.cuh"
#include "cuda/attention/simple.cuh"
#include "cuda/attention/tensor.h"
#include "cuda/launch.h"

namespace te::cuda::attention {

template <class T, int D, int M>
struct ForwardMemory {
  Tile<T, kTile * M, D> q;
  Tile<T, kTile, D> k, v;
};

// What infinities, or sums beyond their range, have spoilt is computed again by other means.
template <class T>
__device__ __attribute__((noinline)) void forward_again(const Operands& a, const ForwardBlock& block, int first) {
  simple_forward<T>(a, block, first, block_memory<SimpleMemory>());
}

// The scores of 16 M rows, and the largest and total of each so far. General: with a bias, dropout, folded heads, or a
// visibility that does not follow from indices; scores then are in natural units, else scale is still to be applied.
template <int M, bool General>
class RowScores {
 public:
  __device__ RowScores(const Operands& a, const ForwardBlock& block, int warp_first)
      : scale_log2_(General ? kLog2e : a.scale * kLog2e) {
    const int quad = threadIdx.x % 32 / 4;
#pragma unroll
    for (int r = 0; r < 2 * M; ++r) {
      const FoldedRow row(a, block.head, warp_first + 8 * r + quad);
      top_[r] = -infinity();
      total_[r] = 0;
      head_[r] = row.head.head;
      query_[r] = General ? query_of(a, block.head.b, row.i) : Query{row.i, 0, 0, 0};
    }
  }

  // Hides what the rows do not see of the tile.
  __device__ void hide(const Operands& a, const ForwardBlock& block, int tile, bool mixed,
                       float (&score)[M][kTile / 8][4]) const {
    for_each(tile, score, [&](int r, int j, float& s) {
      if constexpr (General) {
        const Head head{block.head.b, head_[r]};
        s = mixed && !head.sees(a, query_[r], j) ? -infinity() : head.score(a, query_[r].index, min(j, a.keys - 1), s);
      } else if (mixed) {
        const int64_t distance = static_cast<int64_t>(j) - query_[r].index;
        if (j >= a.keys || distance < a.below || distance > a.above) s = -infinity();
      }
    });
  }

  // Turns scores into weights, and rescales what was summed under the previous largest.
  template <int N>
  __device__ void weigh(const Operands& a, const ForwardBlock& block, int tile, uint2 key,
                        float (&score)[M][kTile / 8][4], float (&out)[M][N][4]) {
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
    if (!General || !a.key) return;
    for_each(tile, score, [&](int r, int j, float& s) {
      if (!Head{block.head.b, head_[r]}.keeps(a, query_[r].index, j, key)) s = 0;
    });
  }

  template <class T, int N>
  __device__ void store(const Operands& a, const ForwardBlock& block, int warp_first, const float (&out)[M][N][4]) {
    const int quad = threadIdx.x % 32 / 4, pair = threadIdx.x % 4 * 2;
#pragma unroll
    for (int r = 0; r < 2 * M; ++r) {
      const float total = quad_sum(total_[r]);
      const FoldedRow row(a, block.head, warp_first + 8 * r + quad);
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
  template <class F>
  static __device__ void for_each(int tile, float (&score)[M][kTile / 8][4], const F& f) {
    const int first = tile * kTile + threadIdx.x % 4 * 2;
#pragma unroll
    for (int m = 0; m < M; ++m)
#pragma unroll
      for (int n = 0; n < kTile / 8; ++n)
#pragma unroll
        for (int i = 0; i < 4; ++i) f(m * 2 + i / 2, first + n * 8 + i % 2, score[m][n][i]);
  }

  float scale_log2_;
  float top_[2 * M], total_[2 * M];
  int head_[2 * M];
  Query query_[2 * M];
};

template <class T, int D, int M, bool General>
__global__ void __launch_bounds__(kThreads) tensor_attention(const __grid_constant__ Operands a) {
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
  const uint2 key = General ? dropout_key(a) : uint2{};
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
      if (General || is_mixed) rows.hide(a, block, tile, is_mixed, score);
      rows.weigh(a, block, tile, key, score, out);
      multiply<M, T, kTile, D, D>(out, score, memory.v);
    }
    tile = next;
  }
  wait_copies<0>();

  if (any_of_block(!all_finite(out), spoilt)) {
    for (int m = 0; m < M; ++m) forward_again<T>(a, block, block.first + m * kTile);
    return;
  }
  if (active) rows.template store<T>(a, block, warp_first, out);
}

template <class T, int D, int M, bool General>
void launch_forward(const Operands& a) {
  const size_t bytes = std::max(sizeof(ForwardMemory<T, D, M>), sizeof(SimpleMemory));
  allow_shared(tensor_attention<T, D, M, General>, bytes);
  launch("attention", tensor_attention<T, D, M, General>, {dim3(forward_blocks(a, kTile * M)), dim3(kThreads), bytes},
         a);
}

template <class T>
void tensor_forward_of(const Operands& a) {
  const int depth = std::max(a.depth, a.value_depth);
  const bool plain = !a.bias && !a.states && !a.key && a.scale > 0 && a.fold == 1 && a.splits == 1;
  // Blocks of 128 rows where there are enough for all multiprocessors.
  const bool many = forward_blocks(a, 2 * kTile) >= static_cast<unsigned>(context().properties.multiProcessorCount);
  if (depth <= 64)
    plain&& many ? launch_forward<T, 64, 2, false>(a) : launch_forward<T, 64, 1, true>(a);
  else if (depth <= 128)
    plain&& many ? launch_forward<T, 128, 2, false>(a) : launch_forward<T, 128, 1, true>(a);
  else
    launch_forward<T, 256, 1, true>(a);
}

}  // namespace te::cuda::attention
