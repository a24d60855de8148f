// What the kernels of attention are told, and what they ask of it: which keys a query sees, and its scores.
#pragma once
#include <cmath>

#include "cuda/attention/attention.h"
#include "cuda/threefry.cuh"
#include "cuda/values.cuh"

namespace te::cuda::attention {

using te::attention::Rows;

constexpr float kLog2e = 1.4426950408889634f;
// The least weight of a key that a query sees where something is not finite: above 0, since only what is hidden has
// weight 0, and too small to show beside numbers.
constexpr float kLeastWeight = 1.4e-45f;

__device__ inline float infinity() { return __int_as_float(0x7f800000); }
__device__ inline bool is_finite(float x) { return fabsf(x) < infinity(); }
__device__ inline int clamp_int(int64_t x, int64_t low, int64_t high) {
  return static_cast<int>(x < low ? low : x > high ? high : x);
}

template <class T>
__device__ T rounded(float x);
template <>
__device__ inline float rounded<float>(float x) {
  return x;
}
template <>
__device__ inline __nv_bfloat16 rounded<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ inline __half rounded<__half>(float x) {
  return __float2half_rn(x);
}

// A query as far as visibility goes: it sees positions low to high of its segment.
struct Query {
  int index, low, high, segment;
};

__device__ inline Query query_of(const Operands& a, int b, int i) {
  const int64_t at = static_cast<int64_t>(b) * a.queries + i;
  const int64_t own = a.positions_q ? a.positions_q[at] : i;
  return {i, clamp_int(own + a.below, INT32_MIN, INT32_MAX), clamp_int(own + a.above, INT32_MIN, INT32_MAX),
          a.segments_q ? a.segments_q[at] : 1};
}

// From first to last - 1.
struct Span {
  int first, last;
};

// Tiles that hold [low, high).
__device__ inline Span tiles_of(int low, int high) {
  return {low / kTile, low < high ? (high + kTile - 1) / kTile : low / kTile};
}
// Tiles of keys that some query of [first, last) may see, by index alone.
__device__ inline Span key_tiles_of(const Operands& a, Span queries) {
  if (a.has_positions()) return {0, a.key_tiles()};
  const int low = clamp_int(queries.first + a.below, 0, a.keys);
  return tiles_of(low, clamp_int(queries.last + a.above, low, a.keys));
}
__device__ inline Span key_tiles_of(const Operands& a, int query_tile) {
  return key_tiles_of(a, Span{query_tile * kTile, min((query_tile + 1) * kTile, a.queries)});
}
// Tiles of queries that may see some key of a tile.
__device__ inline Span query_tiles_of(const Operands& a, int key_tile) {
  if (a.has_positions()) return {0, a.query_tiles()};
  const int low = clamp_int(key_tile * kTile - a.above, 0, a.queries);
  return tiles_of(low, clamp_int(min((key_tile + 1) * kTile, a.keys) - a.below, low, a.queries));
}

// One head of one sample.
struct Head {
  int b, head;

  __device__ bool sees(const Operands& a, const Query& query, int j) const {
    if (j >= a.keys) return false;
    const int64_t at = static_cast<int64_t>(b) * a.keys + j;
    const int position = a.positions_kv ? a.positions_kv[at] : j;
    if (position < query.low || position > query.high) return false;
    if (a.segments_kv && (a.segments_kv[at] != query.segment || query.segment == 0)) return false;
    return !a.mask || !a.mask[b * a.mask_batch + head * a.mask_head + query.index * a.mask_query + j];
  }
  // The score of a key inside of the keys that the query may see; -inf where the bias is, whatever the key holds.
  __device__ float score(const Operands& a, int i, int j, float product) const {
    if (!a.bias) return product * a.scale;
    const float bias = a.bias_scale * load_real(a.bias_dtype, a.bias, bias_row(a, i) + j);
    return bias == -infinity() ? bias : fmaf(product, a.scale, bias);
  }
  __device__ int64_t bias_row(const Operands& a, int i) const {
    return b * a.bias_batch + head * a.bias_head + static_cast<int64_t>(i) * a.keys;
  }
  // Whether dropout keeps the weight.
  __device__ bool keeps(const Operands& a, int i, int j, uint2 key) const {
    const int per_group = a.heads / a.groups, group = head / per_group;
    const int64_t row = a.counter + b * a.counter_batch + group * a.counter_group +
                        (head - group * per_group) * a.counter_head + i * a.counter_query;
    return threefry_bits(key.x, key.y, static_cast<uint64_t>(row + j)) >> 9 < a.keep_below;
  }
  __device__ int64_t row(const Operands& a, int i) const {
    return (static_cast<int64_t>(b) * a.heads + head) * a.queries + i;
  }
  // What is known of a tile of queries and keys beforehand.
  __device__ TileState state(const Operands& a, int query_tile, int key_tile) const {
    if (!a.states) return TileState::mixed;
    const int64_t at = b * a.state_batch + head * a.state_head + static_cast<int64_t>(query_tile) * a.key_tiles();
    return static_cast<TileState>(a.states[at + key_tile]);
  }
};

// Blocks of the kernels of gradients: a tile of queries of one head, or a tile of keys of one group, whose first head
// `head` is. With a causal mask those that see the most go first.
struct QueryBlock {
  Head head;
  int tile;
  __device__ explicit QueryBlock(const Operands& a) {
    const int tiles = a.query_tiles(), number = blockIdx.x / tiles;
    tile = tiles - 1 - blockIdx.x % tiles;
    head = {number / a.heads, number % a.heads};
  }
};
struct KeyBlock {
  Head head;
  int tile;
  __device__ explicit KeyBlock(const Operands& a) {
    const int tiles = a.key_tiles(), number = blockIdx.x / tiles;
    tile = blockIdx.x % tiles;
    head = {number / a.groups, number % a.groups * (a.heads / a.groups)};
  }
};

// The random key of dropout.
__device__ inline uint2 dropout_key(const Operands& a) {
  return a.key ? make_uint2(a.key[0], a.key[1]) : make_uint2(0, 0);
}

}  // namespace te::cuda::attention
