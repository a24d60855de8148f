// Attention without tensor cores: float32 of any depth, and what those cannot do to the letter, such as infinities
// among values that only some queries see. 128 threads have tiles of 64 queries and 64 keys in shared memory, columns
// of 64 at a time; every thread has rows row + 16 r and columns column + 8 c of a tile.
#pragma once
#include "cuda/attention/finish.cuh"
#include "cuda/attention/operands.cuh"

namespace te::cuda::attention {

constexpr int kSimpleThreads = 128, kStep = 16;

struct SimpleMemory {
  float left[kTile][kStep + 1], right[kTile][kStep + 1];
  float weights[kTile][kTile + 1], dscores[kTile][kTile + 1];
  float columns[kStep][kTile];
};

using TileSums = float[4][8];

__device__ inline int tile_row(int r) { return threadIdx.x / 8 + 16 * r; }
__device__ inline int tile_column(int c) { return threadIdx.x % 8 + 8 * c; }

// Rows of an operand from `first` on, zeros behind `count`. Rows go through the positions of a head, then of the next.
template <class T>
struct Lines {
  const T* base;
  int64_t position, head;
  int first, count, per_head, width;
  __device__ float at(int row, int d) const {
    row += first;
    if (row >= count || d >= width) return 0;
    const int n = row < per_head ? 0 : row / per_head;
    return static_cast<float>(base[n * head + (row - n * per_head) * position + d]);
  }
  __device__ Lines from(int row) const {
    Lines lines = *this;
    lines.first = row;
    return lines;
  }
};

template <class T>
__device__ Lines<T> lines_of(const void* data, const Rows& rows, const Head& h, int head, int positions, int fold,
                             int width) {
  return {static_cast<const T*>(data) + rows.at(h.b, 0, head),
          rows.position,
          rows.head,
          0,
          positions * fold,
          positions,
          width};
}
template <class T>
__device__ Lines<T> key_lines(const Operands& a, const Head& h) {
  return lines_of<T>(a.k, a.k_rows, h, h.head / (a.heads / a.groups), a.keys, 1, a.depth);
}
template <class T>
__device__ Lines<T> value_lines(const Operands& a, const Head& h) {
  return lines_of<T>(a.v, a.v_rows, h, h.head / (a.heads / a.groups), a.keys, 1, a.value_depth);
}

// sum[r][c] = left[row] · right[column], number after number.
template <class T>
__device__ void multiply(SimpleMemory& m, const Lines<T>& left, const Lines<T>& right, TileSums& sum) {
#pragma unroll
  for (int r = 0; r < 4; ++r)
#pragma unroll
    for (int c = 0; c < 8; ++c) sum[r][c] = 0;
  for (int d0 = 0; d0 < left.width; d0 += kStep) {
    __syncthreads();
#pragma unroll 2
    for (int n = 0; n < kTile * kStep / kSimpleThreads; ++n) {
      const int e = threadIdx.x + n * kSimpleThreads, row = e / kStep, d = e % kStep;
      m.left[row][d] = left.at(row, d0 + d);
      m.right[row][d] = right.at(row, d0 + d);
    }
    __syncthreads();
#pragma unroll 2
    for (int d = 0; d < kStep; ++d) {
      float x[4], y[8];
#pragma unroll
      for (int r = 0; r < 4; ++r) x[r] = m.left[tile_row(r)][d];
#pragma unroll
      for (int c = 0; c < 8; ++c) y[c] = m.right[tile_column(c)][d];
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int c = 0; c < 8; ++c) sum[r][c] = fmaf(x[r], y[c], sum[r][c]);
    }
  }
}

// sum[r][c] += Σ over k of weights[row][k] (or [k][row]) lines[k][first + column], leaving out weights of 0 whatever
// the line holds. With `finite` what is not finite in a line counts as 0.
template <bool Transposed, bool Finite, class T>
__device__ void accumulate(SimpleMemory& m, const float (&weights)[kTile][kTile + 1], const Lines<T>& lines, int first,
                           TileSums& sum) {
  for (int k0 = 0; k0 < kTile; k0 += kStep) {
    __syncthreads();
#pragma unroll
    for (int n = 0; n < kTile * kStep / kSimpleThreads; ++n) {
      const int e = threadIdx.x + n * kSimpleThreads, k = e / kTile, c = e % kTile;
      const float x = lines.at(k0 + k, first + c);
      m.columns[k][c] = Finite && !is_finite(x) ? 0.0f : x;
    }
    __syncthreads();
#pragma unroll 2
    for (int k = 0; k < kStep; ++k) {
      float x[4], y[8];
#pragma unroll
      for (int r = 0; r < 4; ++r) x[r] = Transposed ? weights[k0 + k][tile_row(r)] : weights[tile_row(r)][k0 + k];
#pragma unroll
      for (int c = 0; c < 8; ++c) y[c] = m.columns[k][tile_column(c)];
#pragma unroll
      for (int r = 0; r < 4; ++r)
        if (x[r] != 0)
#pragma unroll
          for (int c = 0; c < 8; ++c) sum[r][c] = fmaf(x[r], y[c], sum[r][c]);
    }
  }
}

// Over the eight threads that share a row of a tile.
__device__ inline float row_max(float x) {
#pragma unroll
  for (int offset = 1; offset < 8; offset *= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, offset));
  return x;
}
__device__ inline float row_sum(float x) {
#pragma unroll
  for (int offset = 1; offset < 8; offset *= 2) x += __shfl_xor_sync(0xffffffffu, x, offset);
  return x;
}

// The rows [first, first + 64) of a block against its part of the keys.
template <class T>
__device__ void simple_forward(const Operands& a, const ForwardBlock& block, int first, SimpleMemory& m) {
  const uint2 key = dropout_key(a);
  const Head& h = block.head;
  const Lines<T> q = lines_of<T>(a.q, a.q_rows, h, h.head, a.queries, a.fold, a.depth).from(first);
  const Lines<T> k = key_lines<T>(a, h), v = value_lines<T>(a, h);
  for (int column = 0; column == 0 || column < a.value_depth; column += kTile) {
    TileSums sum = {};
    float largest[4], total[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) largest[r] = -infinity(), total[r] = 0;
    for (int tile = block.tiles.first; tile < block.tiles.last; ++tile) {
      if (block.state(a, tile) == TileState::hidden) continue;
      TileSums s;
      multiply(m, q, k.from(tile * kTile), s);
      __syncthreads();
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const FoldedRow row(a, h, first + tile_row(r));
        float best = -infinity();
        if (row.inside) {
          const Query query = query_of(a, h.b, row.i);
#pragma unroll
          for (int c = 0; c < 8; ++c) {
            const int j = tile * kTile + tile_column(c);
            s[r][c] = row.head.sees(a, query, j) ? row.head.score(a, row.i, j, s[r][c]) : -infinity();
            best = fmaxf(best, s[r][c]);
          }
        }
        best = fmaxf(largest[r], row_max(best));
        const float base = best == -infinity() ? 0.0f : best;
        const float factor = fmaxf(expf(largest[r] - base), kLeastWeight);
        largest[r] = best;
        float part = 0;
#pragma unroll
        for (int c = 0; c < 8; ++c) {
          float weight = 0;
          if (row.inside && s[r][c] != -infinity()) {
            weight = expf(s[r][c] - base);
            part += weight;
            if (weight < kLeastWeight) weight = kLeastWeight;
            if (a.key && !row.head.keeps(a, row.i, tile * kTile + tile_column(c), key)) weight = 0;
          }
          m.weights[tile_row(r)][tile_column(c)] = weight;
          sum[r][c] *= factor;
        }
        total[r] = total[r] * factor + row_sum(part);
      }
      accumulate<false, false>(m, m.weights, v.from(tile * kTile), column, sum);
    }
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const FoldedRow row(a, h, first + tile_row(r));
      if (!row.inside) continue;
      const RowEnd<T> end(a, block, row, largest[r], total[r], column == 0 && threadIdx.x % 8 == 0);
#pragma unroll
      for (int c = 0; c < 8; ++c)
        if (column + tile_column(c) < a.value_depth) end.store(column + tile_column(c), sum[r][c]);
    }
  }
}

}  // namespace te::cuda::attention
