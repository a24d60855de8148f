// Gradients of attention on tensor cores, for 16-bit elements and depths up to D. Four warps have a tile of 64 queries,
// along whose keys they go for dq, or one of 64 keys, along whose queries they go for dk and dv. Scores are computed
// with the rows of the tile as rows, so that their gradients are at once the left operand of the next product.
#pragma once
#include "cuda/attention/fragments.cuh"
#include "cuda/attention/tensor.h"
#include "cuda/launch.h"

namespace te::cuda::attention {

template <int Columns>
using TileScores = float[1][Columns / 8][4];

// What a weight takes from the statistics of its row: e^(score - max) share, and the mean D.
struct RowStatistics {
  float max, share, mean;
};
__device__ inline RowStatistics statistics_of(const Operands& a, const Head& h, int i) {
  if (i >= a.queries) return {0, 0, 0};
  const int64_t row = h.row(a, i);
  return {a.max[row], 1 / a.sum[row], a.mean[row]};
}

// A thread's elements of some columns of a tile of queries and keys. KeysFirst: the rows of its accumulators are keys.
// Where sums take most of the registers, a tile is gone through in parts of 32 or 16 columns.
template <bool KeysFirst, int Columns>
struct GradientTile {
  using Scores = TileScores<Columns>;
  Head h;
  int query_tile, key_tile, row, first_column;  // of the warp, in the tile
  TileState state;

  // f(number, query, key): element `number` = 4 n + i.
  __device__ int query(int n, int i) const { return query_tile * kTile + (KeysFirst ? column(n, i) : first(i)); }
  __device__ int key(int n, int i) const { return key_tile * kTile + (KeysFirst ? first(i) : column(n, i)); }

  __device__ bool mixed(const Operands& a) const {
    const int64_t i0 = static_cast<int64_t>(query_tile) * kTile, j0 = static_cast<int64_t>(key_tile) * kTile;
    if (i0 + kTile > a.queries || j0 + kTile > a.keys) return true;
    if (a.states) return state == TileState::mixed;
    return j0 + kTile - 1 > i0 + a.above || j0 < i0 + kTile - 1 + a.below;
  }

  // Turns products q · k into weights before dropout, and says which of them it keeps.
  template <class T, class Statistics>
  __device__ uint32_t weigh(const Operands& a, const Statistics& statistics, Scores& score) const {
    if (!a.bias) {
      for_each([&](int n, int i) { score[0][n][i] *= a.scale; });
    } else if (a.bias_dtype == DType::float32) {
      add_bias<float>(a, score);
    } else {
      add_bias<T>(a, score);
    }
    if (mixed(a)) {
      const uint32_t seen = bits([&](int i, int j) { return i < a.queries && h.sees(a, query_of(a, h.b, i), j); });
      for_each([&](int n, int i) { score[0][n][i] = seen >> (4 * n + i) & 1 ? score[0][n][i] : -infinity(); });
    }
    uint32_t kept = ~0u;
    if (a.key) {
      const uint2 key = dropout_key(a);
      kept = bits([&](int i, int j) { return h.keeps(a, i, j, key); });
    }
    for_each([&](int n, int i) {
      const RowStatistics& row = statistics(n, i);
      float& s = score[0][n][i];
      s = s == -infinity() ? 0.0f : exp2_fast((s - row.max) * kLog2e) * row.share;
    });
    return kept;
  }

  // Turns products dout · v into gradients of scores, and weights into those after dropout.
  template <class Statistics>
  __device__ void differentiate(const Operands& a, const Statistics& statistics, uint32_t kept, Scores& weight,
                                Scores& dscore) const {
    for_each([&](int n, int i) {
      float& p = weight[0][n][i];
      const float keep = kept >> (4 * n + i) & 1 ? a.kept : 0.0f;
      dscore[0][n][i] = p * fmaf(dscore[0][n][i], keep, -statistics(n, i).mean);
      p *= keep;
    });
  }

 private:
  __device__ int first(int i) const { return row + threadIdx.x % 32 / 4 + i / 2 * 8; }
  __device__ int column(int n, int i) const { return first_column + n * 8 + threadIdx.x % 4 * 2 + i % 2; }

  template <class F>
  static __device__ void for_each(const F& f) {
#pragma unroll
    for (int n = 0; n < Columns / 8; ++n)
#pragma unroll
      for (int i = 0; i < 4; ++i) f(n, i);
  }
  // A bit for each element. A loop that is not unrolled: what it asks may be long.
  template <class F>
  __device__ uint32_t bits(const F& f) const {
    uint32_t all = 0;
#pragma unroll 1
    for (int n = 0; n < Columns / 8; ++n)
#pragma unroll 1
      for (int i = 0; i < 4; ++i)
        if (f(query(n, i), key(n, i))) all |= 1u << (4 * n + i);
    return all;
  }
  template <class B>
  __device__ void add_bias(const Operands& a, Scores& score) const {
    const B* bias = static_cast<const B*>(a.bias) + h.bias_row(a, 0);
    for_each([&](int n, int i) {
      const int q = query(n, i), k = key(n, i);
      const bool inside = q < a.queries && k < a.keys;
      const float x = inside ? a.bias_scale * static_cast<float>(bias[static_cast<int64_t>(q) * a.keys + k]) : 0.0f;
      score[0][n][i] = x == -infinity() ? x : fmaf(score[0][n][i], a.scale, x);
    });
  }
};

// Rows of `width` elements from accumulators whose first column is `column`.
template <class T, int N>
__device__ void store_sums(void* data, const Rows& rows, int b, int head, int first, int count, int column, int width,
                           float scale, const float (&sum)[1][N][4]) {
  struct alignas(2 * sizeof(T)) Pair {
    T low, high;
  };
  column += threadIdx.x % 4 * 2;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int row = first + threadIdx.x % 32 / 4 + 8 * r;
    if (row >= count) continue;
    T* to = static_cast<T*>(data) + rows.at(b, row, head) + column;
#pragma unroll
    for (int n = 0; n < N; ++n) {
      const T low = rounded<T>(sum[0][n][2 * r] * scale), high = rounded<T>(sum[0][n][2 * r + 1] * scale);
      const int left = width - column - n * 8;
      if (left > 1 && width % 2 == 0) {
        *reinterpret_cast<Pair*>(to + n * 8) = {low, high};
      } else {
        if (left > 0) to[n * 8] = low;
        if (left > 1) to[n * 8 + 1] = high;
      }
    }
  }
}

// Starts copying a tile of rows of one head.
template <class T, int D>
__device__ void load_rows(Tile<T, kTile, D>& tile, const void* data, const Rows& rows, int b, int head, int number,
                          int count, int width) {
  load_tile(tile, static_cast<const T*>(data) + rows.at(b, 0, head), HeadRows{rows.position}, number * kTile, count,
            width, width % 8 == 0);
}

template <class T, int D>
struct QueryMemory {
  static constexpr int kStages = D <= 128 ? 2 : 1;
  Tile<T, kTile, D> q, dout, k[kStages], v[kStages];
};

template <class T, int D>
__global__ void __launch_bounds__(kThreads, 2) tensor_query_gradient(const __grid_constant__ Operands a) {
  auto& memory = block_memory<QueryMemory<T, D>>();
  constexpr int kStages = QueryMemory<T, D>::kStages, kColumns = D > 128 ? 32 : 64;
  __shared__ int spoilt;
  const QueryBlock block(a);
  const Head h = block.head;
  const int row = threadIdx.x / 32 * 16, group = h.head / (a.heads / a.groups);
  const Span tiles = key_tiles_of(a, block.tile);
  const auto next_tile = [&](int tile) {
    while (tile < tiles.last && h.state(a, block.tile, tile) == TileState::hidden) ++tile;
    return tile;
  };
  const auto load = [&](int tile, int stage) {
    load_rows(memory.k[stage], a.k, a.k_rows, h.b, group, tile, a.keys, a.depth);
    load_rows(memory.v[stage], a.v, a.v_rows, h.b, group, tile, a.keys, a.value_depth);
  };

  RowStatistics statistics[2];
#pragma unroll
  for (int r = 0; r < 2; ++r)
    statistics[r] = statistics_of(a, h, block.tile * kTile + row + threadIdx.x % 32 / 4 + 8 * r);
  load_rows(memory.q, a.q, a.q_rows, h.b, h.head, block.tile, a.queries, a.depth);
  load_rows(memory.dout, a.dout, a.out_rows, h.b, h.head, block.tile, a.queries, a.value_depth);
  int tile = next_tile(tiles.first), stage = 0;
  if (tile < tiles.last) load(tile, 0);
  commit_copies();

  float dq[1][D / 8][4] = {};
  while (tile < tiles.last) {
    const int next = next_tile(tile + 1), other = kStages - 1 - stage;
    wait_copies<0>();
    __syncthreads();  // this tile is there, and nobody uses the previous one any more
    if (kStages == 2 && next < tiles.last) load(next, other);
    commit_copies();
    const auto of_row = [&](int, int i) -> const RowStatistics& { return statistics[i / 2]; };
#pragma unroll 1
    for (int first = 0; first < kTile; first += kColumns) {
      auto& k = memory.k[stage].template rows<kColumns>(first);
      auto& v = memory.v[stage].template rows<kColumns>(first);
      const GradientTile<false, kColumns> part{h, block.tile, tile, row, first, h.state(a, block.tile, tile)};
      TileScores<kColumns> score = {}, dscore = {};
      multiply_transposed(score, memory.q, row, k);
      const uint32_t kept = part.template weigh<T>(a, of_row, score);
      multiply_transposed(dscore, memory.dout, row, v);
      part.differentiate(a, of_row, kept, score, dscore);
      multiply<1, T, kColumns, D, D>(dq, dscore, k);
    }
    if (kStages == 1) {
      __syncthreads();
      if (next < tiles.last) load(next, 0);
      commit_copies();
    }
    tile = next;
    stage = other;
  }
  wait_copies<0>();
  const bool is_spoilt = any_of_block(!all_finite(dq), spoilt);
  if (threadIdx.x == 0) a.spoilt[blockIdx.x] = is_spoilt;
  store_sums<T>(a.dq, a.q_rows, h.b, h.head, block.tile * kTile + row, a.queries, 0, a.depth, a.scale, dq);
}

template <class T, int D>
struct KeyMemory {
  static constexpr int kStages = D <= 128 ? 2 : 1;
  Tile<T, kTile, D> k, v, q[kStages], dout[kStages];
  RowStatistics statistics[2][kTile];
};

// Columns [W n, W (n + 1)) of dk and dv, with n = blockIdx.y.
template <class T, int D, int W>
__global__ void __launch_bounds__(kThreads, 2) tensor_key_gradient(const __grid_constant__ Operands a) {
  auto& memory = block_memory<KeyMemory<T, D>>();
  constexpr int kStages = KeyMemory<T, D>::kStages, kColumns = D > 64 ? 16 : 64;
  __shared__ int spoilt;
  const KeyBlock block(a);
  const int row = threadIdx.x / 32 * 16, b = block.head.b, per_group = a.heads / a.groups;
  const int group = block.head.head / per_group, column = blockIdx.y * W;
  const Span tiles = query_tiles_of(a, block.tile);
  const int steps = per_group * (tiles.last - tiles.first);
  // A step is a tile of queries of one head of the group.
  const auto head_of = [&](int step) { return Head{b, block.head.head + step / (tiles.last - tiles.first)}; };
  const auto tile_of = [&](int step) { return tiles.first + step % (tiles.last - tiles.first); };
  const auto next_step = [&](int step) {
    while (step < steps && head_of(step).state(a, tile_of(step), block.tile) == TileState::hidden) ++step;
    return step;
  };
  const auto load = [&](int step, int stage) {
    const int head = head_of(step).head, tile = tile_of(step);
    load_rows(memory.q[stage], a.q, a.q_rows, b, head, tile, a.queries, a.depth);
    load_rows(memory.dout[stage], a.dout, a.out_rows, b, head, tile, a.queries, a.value_depth);
  };
  const auto load_statistics = [&](int step, int turn) {
    if (threadIdx.x < kTile)
      memory.statistics[turn][threadIdx.x] =
          statistics_of(a, head_of(step), tile_of(step) * kTile + static_cast<int>(threadIdx.x));
  };

  load_rows(memory.k, a.k, a.k_rows, b, group, block.tile, a.keys, a.depth);
  load_rows(memory.v, a.v, a.v_rows, b, group, block.tile, a.keys, a.value_depth);
  int step = next_step(0), turn = 0;
  if (step < steps) {
    load(step, 0);
    load_statistics(step, 0);
  }
  commit_copies();

  float dk[1][W / 8][4] = {}, dv[1][W / 8][4] = {};
  while (step < steps) {
    const int next = next_step(step + 1), stage = turn % kStages;
    wait_copies<0>();
    __syncthreads();  // this tile is there, and nobody uses the previous one any more
    if (kStages == 2 && next < steps) load(next, 1 - stage);
    commit_copies();
    if (next < steps) load_statistics(next, 1 - turn);
    const Head h = head_of(step);
#pragma unroll 1
    for (int first = 0; first < kTile; first += kColumns) {
      auto& q = memory.q[stage].template rows<kColumns>(first);
      auto& dout = memory.dout[stage].template rows<kColumns>(first);
      const GradientTile<true, kColumns> part{h,   tile_of(step), block.tile,
                                              row, first,         h.state(a, tile_of(step), block.tile)};
      const auto of_query = [&](int n, int i) -> const RowStatistics& {
        return memory.statistics[turn][first + n * 8 + threadIdx.x % 4 * 2 + i % 2];
      };
      TileScores<kColumns> score = {}, dscore = {};
      multiply_transposed(score, memory.k, row, q);
      const uint32_t kept = part.template weigh<T>(a, of_query, score);
      multiply_transposed(dscore, memory.v, row, dout);
      part.differentiate(a, of_query, kept, score, dscore);
      multiply<1, T, kColumns, D, W>(dv, score, dout, column);
      multiply<1, T, kColumns, D, W>(dk, dscore, q, column);
    }
    if (kStages == 1) {
      __syncthreads();
      if (next < steps) load(next, 0);
      commit_copies();
    }
    step = next;
    turn = 1 - turn;
  }
  wait_copies<0>();
  const bool is_spoilt = any_of_block(!all_finite(dk) || !all_finite(dv), spoilt);
  if (threadIdx.x == 0) a.spoilt[query_blocks(a) + blockIdx.y * gridDim.x + blockIdx.x] = is_spoilt;
  const int first = block.tile * kTile + row;
  store_sums<T>(a.dk, a.k_rows, b, group, first, a.keys, column, a.depth, a.scale, dk);
  store_sums<T>(a.dv, a.v_rows, b, group, first, a.keys, column, a.value_depth, 1, dv);
}

template <class T, int D, int W>
void launch_backward(const Operands& a) {
  const dim3 threads(kThreads);
  if (query_blocks(a) > 0) {
    allow_shared(tensor_query_gradient<T, D>, sizeof(QueryMemory<T, D>));
    launch("attention_backward", tensor_query_gradient<T, D>,
           {dim3(query_blocks(a)), threads, sizeof(QueryMemory<T, D>)}, a);
  }
  if (key_blocks(a) == 0) return;
  allow_shared(tensor_key_gradient<T, D, W>, sizeof(KeyMemory<T, D>));
  launch("attention_backward", tensor_key_gradient<T, D, W>,
         {dim3(key_blocks(a), D / W), threads, sizeof(KeyMemory<T, D>)}, a);
}

template <class T>
void tensor_backward_of(const Operands& a) {
  const int depth = std::max(a.depth, a.value_depth);
  if (depth <= 64)
    launch_backward<T, 64, 64>(a);
  else if (depth <= 128)
    launch_backward<T, 128, 128>(a);
  else
    launch_backward<T, 256, 128>(a);
}

}  // namespace te::cuda::attention
