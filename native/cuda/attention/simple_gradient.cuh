// Gradients of attention without tensor cores. A tile of scores is computed again, with its gradient
// ds = p (dp - D), D = rowsum(dout out) - dlse; then dq = scale ds k, dk = scale dsᵀ q, dv = pᵀ dout, dbias = Σ ds.
#pragma once
#include "cuda/attention/simple.cuh"

namespace te::cuda::attention {

__device__ inline void keep(float (&tile)[kTile][kTile + 1], const TileSums& sum) {
#pragma unroll
  for (int r = 0; r < 4; ++r)
#pragma unroll
    for (int c = 0; c < 8; ++c) tile[tile_row(r)][tile_column(c)] = sum[r][c];
}

// Fills weights (after dropout) and dscores of a tile. First their places hold the products q · k and dout · v, each
// for its own thread: the loop over them then needs few registers.
template <class T>
__device__ void gradient_tile(const Operands& a, const Head& h, int query_tile, int key_tile, uint2 key,
                              SimpleMemory& m) {
  const int i0 = query_tile * kTile, j0 = key_tile * kTile;
  const Lines<T> q = lines_of<T>(a.q, a.q_rows, h, h.head, a.queries, 1, a.depth);
  const Lines<T> dout = lines_of<T>(a.dout, a.out_rows, h, h.head, a.queries, 1, a.value_depth);
  TileSums sum;
  multiply(m, dout.from(i0), value_lines<T>(a, h).from(j0), sum);
  __syncthreads();  // nobody uses the previous weights and dscores any more
  keep(m.dscores, sum);
  multiply(m, q.from(i0), key_lines<T>(a, h).from(j0), sum);
  keep(m.weights, sum);
#pragma unroll 1
  for (int r = 0; r < 4; ++r) {
    const int i = i0 + tile_row(r);
    const bool inside = i < a.queries;
    const Query query = query_of(a, h.b, inside ? i : 0);
    const int64_t row = h.row(a, inside ? i : 0);
    const float max = a.max[row], share = 1 / a.sum[row], mean = a.mean[row];
#pragma unroll 2
    for (int c = 0; c < 8; ++c) {
      const int j = j0 + tile_column(c);
      float &of_weight = m.weights[tile_row(r)][tile_column(c)], &of_dscore = m.dscores[tile_row(r)][tile_column(c)];
      float weight = 0, dscore = 0;
      if (inside && h.sees(a, query, j)) {
        const float score = h.score(a, i, j, of_weight);
        if (score != -infinity()) {
          const float p = expf(score - max) * share, likely = p < kLeastWeight ? kLeastWeight : p;
          const float kept = !a.key ? 1.0f : h.keeps(a, i, j, key) ? a.kept : 0.0f;
          weight = kept == 0 ? 0.0f : likely * kept;
          dscore = p * ((kept == 0 ? 0.0f : kept * of_dscore) - mean);
        }
      }
      of_weight = weight;
      of_dscore = dscore;
    }
  }
}

template <class T>
__device__ void store_rows(void* data, const Rows& rows, const Head& h, int head, int first, int count, int column,
                           int width, float scale, const TileSums& sum) {
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    if (first + tile_row(r) >= count) continue;
    T* to = static_cast<T*>(data) + rows.at(h.b, first + tile_row(r), head);
#pragma unroll
    for (int c = 0; c < 8; ++c)
      if (column + tile_column(c) < width) to[column + tile_column(c)] = rounded<T>(sum[r][c] * scale);
  }
}

// dq of one tile of queries.
template <class T>
__device__ void simple_query_gradient(const Operands& a, const Head& h, int query_tile, SimpleMemory& m) {
  const uint2 key = dropout_key(a);
  const Span tiles = key_tiles_of(a, query_tile);
  for (int column = 0; column < a.depth; column += kTile) {
    TileSums dq = {};
    for (int tile = tiles.first; tile < tiles.last; ++tile) {
      if (h.state(a, query_tile, tile) == TileState::hidden) continue;
      gradient_tile<T>(a, h, query_tile, tile, key, m);
      accumulate<false, true>(m, m.dscores, key_lines<T>(a, h).from(tile * kTile), column, dq);
    }
    store_rows<T>(a.dq, a.q_rows, h, h.head, query_tile * kTile, a.queries, column, a.depth, a.scale, dq);
  }
}

// dk and dv of one tile of keys; first: the first head of the group.
template <class T>
__device__ void simple_key_gradient(const Operands& a, const Head& first, int key_tile, SimpleMemory& m) {
  const uint2 key = dropout_key(a);
  const int per_group = a.heads / a.groups, group = first.head / per_group;
  const Span tiles = query_tiles_of(a, key_tile);
  for (int column = 0; column < max(a.depth, a.value_depth); column += kTile) {
    TileSums dk = {}, dv = {};
    for (Head h = first; h.head < first.head + per_group; ++h.head) {
      const Lines<T> q = lines_of<T>(a.q, a.q_rows, h, h.head, a.queries, 1, a.depth);
      const Lines<T> dout = lines_of<T>(a.dout, a.out_rows, h, h.head, a.queries, 1, a.value_depth);
      for (int tile = tiles.first; tile < tiles.last; ++tile) {
        if (h.state(a, tile, key_tile) == TileState::hidden) continue;
        gradient_tile<T>(a, h, tile, key_tile, key, m);
        accumulate<true, true>(m, m.dscores, q.from(tile * kTile), column, dk);
        accumulate<true, false>(m, m.weights, dout.from(tile * kTile), column, dv);
      }
    }
    store_rows<T>(a.dk, a.k_rows, first, group, key_tile * kTile, a.keys, column, a.depth, a.scale, dk);
    store_rows<T>(a.dv, a.v_rows, first, group, key_tile * kTile, a.keys, column, a.value_depth, 1, dv);
  }
}

}  // namespace te::cuda::attention
