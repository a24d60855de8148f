// Reads the operands of attention, and finds out which tiles of queries and keys hold anything visible where a mask,
// segments or positions decide: kernels pass over the rest.
#include "cuda/attention/operands.cuh"
#include "cuda/launch.h"
#include "cuda/threefry.cuh"

namespace te::cuda::attention {
namespace {

using te::attention::Problem;

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) find_tile_states(const __grid_constant__ Operands a, uint8_t* states) {
  __shared__ int seen, hidden;
  const int key_tiles = a.key_tiles(), query_tiles = a.query_tiles();
  const int key_tile = blockIdx.x % key_tiles, rest = blockIdx.x / key_tiles;
  const int query_tile = rest % query_tiles, slice = rest / query_tiles;
  const int heads = a.state_head ? a.heads : 1;
  const Head head{slice / heads, slice % heads};
  if (threadIdx.x == 0) seen = hidden = 0;
  __syncthreads();
  bool any = false, all = true;
  for (int r = threadIdx.x / kTile; r < kTile; r += kThreads / kTile) {
    const int i = query_tile * kTile + r;
    if (i >= a.queries) break;
    const bool sees = head.sees(a, query_of(a, head.b, i), key_tile * kTile + threadIdx.x % kTile);
    any |= sees;
    all &= sees;
  }
  if (any) atomicOr(&seen, 1);
  if (!all) atomicOr(&hidden, 1);
  __syncthreads();
  if (threadIdx.x == 0)
    states[blockIdx.x] = static_cast<uint8_t>(!seen    ? TileState::hidden
                                              : hidden ? TileState::mixed
                                                       : TileState::visible);
}

int64_t state_slices(const Problem& p) {
  return (p.has_segments || p.has_positions() || p.mask_batch > 1 ? p.batch : 1) * p.mask_heads;
}

int64_t tiles(int64_t positions) { return (positions + kTile - 1) / kTile; }

}  // namespace

size_t state_bytes(const Problem& p) {
  return p.explicit_mask() ? static_cast<size_t>(state_slices(p) * tiles(p.queries) * tiles(p.keys)) : 0;
}

Operands read_operands(const Problem& p, const Call& call, void* scratch) {
  Operands a{};
  const auto& at = p.operands;
  const auto input = [&](int index, bool present) { return present ? call.in[index] : nullptr; };
  const auto step = [](int64_t length, int64_t size) { return length > 1 ? size : 0; };
  a.q = call.in[0];
  a.k = p.packing == "qkv" ? a.q : call.in[at.k];
  a.v = p.packing == "none" ? call.in[at.v] : a.k;
  a.bias = input(at.bias, p.has_bias);
  a.mask = static_cast<const uint8_t*>(input(at.mask, p.has_mask));
  a.segments_q = static_cast<const int32_t*>(input(at.segments_q, p.has_segments));
  a.segments_kv = static_cast<const int32_t*>(input(at.segments_kv, p.has_segments));
  a.positions_q = static_cast<const int32_t*>(input(at.positions_q, p.has_q_positions));
  a.positions_kv = static_cast<const int32_t*>(input(at.positions_kv, p.has_kv_positions));
  a.sink = static_cast<const float*>(input(at.sink, p.learnable));
  a.key = static_cast<const uint32_t*>(input(at.key, p.dropout > 0));
  a.q_rows = p.q, a.k_rows = p.k, a.v_rows = p.v, a.out_rows = p.out;
  a.batch = static_cast<int>(p.batch), a.queries = static_cast<int>(p.queries), a.keys = static_cast<int>(p.keys);
  a.heads = static_cast<int>(p.heads), a.groups = static_cast<int>(p.groups);
  a.depth = static_cast<int>(p.depth), a.value_depth = static_cast<int>(p.value_depth);
  a.scale = p.scale, a.bias_scale = p.bias_scale, a.bias_dtype = p.bias_dtype, a.off_by_one = p.off_by_one;
  a.bias_head = step(p.bias_heads, p.queries * p.keys);
  a.bias_batch = step(p.bias_batch, p.bias_heads * p.queries * p.keys);
  a.mask_query = step(p.mask_queries, p.keys);
  a.mask_head = step(p.mask_heads, p.mask_queries * p.keys);
  a.mask_batch = step(p.mask_batch, p.mask_heads * p.mask_queries * p.keys);
  a.below = p.below, a.above = p.above;
  a.counter = p.weights.first, a.counter_batch = p.weights.strides[0], a.counter_group = p.weights.strides[1];
  a.counter_head = p.weights.strides[2], a.counter_query = p.weights.strides[3];
  a.keep_below = kept_numbers(p.dropout);
  a.kept = p.dropout > 0 ? static_cast<float>(1 / (1 - p.dropout)) : 1.0f;
  a.fold = a.splits = 1;
  if (p.explicit_mask() && p.queries > 0 && p.keys > 0 && p.batch > 0) {
    const int64_t size = static_cast<int64_t>(a.query_tiles()) * a.key_tiles(), slices = state_slices(p);
    a.state_head = step(p.mask_heads, size);
    a.state_batch = step(slices / p.mask_heads, p.mask_heads * size);
    launch("attention", find_tile_states, {dim3(static_cast<unsigned>(slices * size)), dim3(kThreads)}, a,
           static_cast<uint8_t*>(scratch));
    a.states = static_cast<const uint8_t*>(scratch);
  }
  return a;
}

}  // namespace te::cuda::attention
