// The operands of attention and its gradients as kernels get them, and what the ops share on the host.
#pragma once
#include <algorithm>
#include <cstdint>

#include "plan/attention_problem.h"

namespace te::cuda::attention {

constexpr int kTile = 64;  // queries and keys of a tile

// Of a tile: no query sees a key, some do, all see all.
enum class TileState : uint8_t { hidden, mixed, visible };

struct Operands {
  const void *q, *k, *v, *bias;
  const uint8_t* mask;
  const int32_t *segments_q, *segments_kv, *positions_q, *positions_kv;
  const float* sink;
  const uint32_t* key;
  void* out;
  float *max, *sum;       // statistics of the rows; read by gradients
  const uint8_t* states;  // of tiles; null where indices say all

  te::attention::Rows q_rows, k_rows, v_rows, out_rows;
  int batch, queries, keys, heads, groups, depth, value_depth;
  float scale, bias_scale;
  DType bias_dtype;
  bool off_by_one;
  // Steps of bias and mask in elements; 0 along what they are broadcast over.
  int64_t bias_batch, bias_head, mask_batch, mask_head, mask_query, state_batch, state_head;
  int64_t below, above;  // see Problem
  // Of dropout: the counter of the first weight, and its steps.
  int64_t counter, counter_batch, counter_group, counter_head, counter_query;
  uint32_t keep_below;  // dropout keeps what has fewer random bits; key is null without dropout
  float kept;           // 1 / (1 - rate)

  uint8_t* spoilt;  // blocks whose work on tensor cores is to be done again without; null: all

  // Forward: a block takes all rows of `fold` heads of a group together, or `fold` is 1. `splits` blocks share the keys
  // of a row, and leave their sums in `partial`: value_depth numbers for each split and row, then largest and total.
  int fold, splits;
  float* partial;

  // Gradients.
  const void* dout;
  float* mean;  // rowsum(dout out) - dlse
  void *dq, *dk, *dv, *dbias;

  constexpr bool has_positions() const { return positions_q || positions_kv; }
  constexpr int query_tiles() const { return (queries + kTile - 1) / kTile; }
  constexpr int key_tiles() const { return (keys + kTile - 1) / kTile; }
  constexpr int64_t rows() const { return static_cast<int64_t>(batch) * heads * queries; }
  constexpr float* partial_statistics() const { return partial + static_cast<int64_t>(splits) * rows() * value_depth; }
};

// Fills what a node and a call say; outputs are the op's own business. `scratch` holds the states of the tiles, which
// are computed by work queued here.
Operands read_operands(const te::attention::Problem& p, const Call& call, void* scratch);
size_t state_bytes(const te::attention::Problem& p);

// Blocks of the kernels of gradients.
constexpr unsigned query_blocks(const Operands& a) {
  return static_cast<unsigned>(static_cast<int64_t>(a.query_tiles()) * a.heads * a.batch);
}
constexpr unsigned key_blocks(const Operands& a) {
  return static_cast<unsigned>(static_cast<int64_t>(a.key_tiles()) * a.groups * a.batch);
}

inline size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

}  // namespace te::cuda::attention
