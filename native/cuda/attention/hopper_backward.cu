// Launches the gradients of attention on Hopper: the table of the statistics, the kernel of hopper_backward.cuh of
// queries and of keys, and after each one that computes the rows again in which something is not finite.
#include "cuda/attention/hopper.h"
#include "cuda/attention/hopper_backward.cuh"
#include "cuda/attention/hopper_maps.h"
#include "cuda/attention/simple_gradient.cuh"
#include "cuda/launch.h"

namespace te::cuda::attention {
namespace {

using te::attention::Problem;

constexpr int kTableThreads = 256;

// A row that sees nothing gets weights of 0.
__global__ void __launch_bounds__(kTableThreads) fill_table(const __grid_constant__ Operands a, float* table) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kTableThreads + threadIdx.x;
  if (row >= a.rows()) return;
  const int64_t head = row / a.queries;
  float* to = table + head * kTableRows * table_columns(a) + row % a.queries;
  const float sum = a.sum[row];
  to[kMax * table_columns(a)] = sum == 0 ? 0.0f : a.max[row];
  to[kLogSum * table_columns(a)] = sum == 0 ? infinity() : log2f(sum);
  to[kMean * table_columns(a)] = a.mean[row];
}

template <class T, bool OfKeys>
__global__ void __launch_bounds__(kSimpleThreads)
    suspect_gradients(const __grid_constant__ Operands a, Suspects suspects) {
  if constexpr (OfKeys) {
    const KeyBlock block(a);
    const int group = block.head.head / (a.heads / a.groups);
    if (!suspects.any(block.head.b * a.groups + group, block.tile * kTile)) return;
    simple_key_gradient<T>(a, block.head, block.tile, block_memory<SimpleMemory>());
  } else {
    const QueryBlock block(a);
    if (!suspects.any(block.head.b * a.heads + block.head.head, block.tile * kTile)) return;
    simple_query_gradient<T>(a, block.head, block.tile, block_memory<SimpleMemory>());
  }
}

int64_t table_bytes(int64_t heads, int64_t queries) {
  return heads * kTableRows * ((queries + 3) / 4 * 4) * static_cast<int64_t>(sizeof(float));
}

template <class T, int D, bool OfKeys>
void run(const Operands& a, DType dtype, const float* table, const Suspects& suspects) {
  using Plan = GradientPlan<D, OfKeys>;
  const auto map = [&](const void* data, const Rows& rows, bool of_keys) {
    return rows_map(data, dtype, rows, D, of_keys ? a.groups : a.heads, of_keys ? a.keys : a.queries, a.batch,
                    of_keys == OfKeys ? Plan::kRows : Plan::kStream);
  };
  const CUtensorMap q = map(a.q, a.q_rows, false), dout = map(a.dout, a.out_rows, false);
  const CUtensorMap k = map(a.k, a.k_rows, true), v = map(a.v, a.v_rows, true);
  const CUtensorMap boxes = table_map(table, a.queries, table_columns(a), kTableRows, a.batch * a.heads, Plan::kStream);
  const int tiles = ((OfKeys ? a.keys : a.queries) + Plan::kRows - 1) / Plan::kRows;
  const int blocks = tiles * a.batch * (OfKeys ? a.groups : a.heads);
  const size_t bytes = sizeof(GradientMemory<T, D, OfKeys>);
  allow_shared(hopper_gradient<T, D, OfKeys>, bytes);
  launch("attention_backward", hopper_gradient<T, D, OfKeys>,
         {dim3(static_cast<unsigned>(blocks)), dim3(Plan::kThreads), bytes}, a, OfKeys ? k : q, OfKeys ? v : dout,
         OfKeys ? q : k, OfKeys ? dout : v, boxes, table, suspects);
  allow_shared(suspect_gradients<T, OfKeys>, sizeof(SimpleMemory));
  launch("attention_backward", suspect_gradients<T, OfKeys>,
         {dim3(OfKeys ? key_blocks(a) : query_blocks(a)), dim3(kSimpleThreads), sizeof(SimpleMemory)}, a, suspects);
}

template <class T, int D>
void run(const Operands& a, DType dtype, void* scratch) {
  auto* table = static_cast<float*>(scratch);
  auto* bytes = static_cast<uint8_t*>(scratch) + table_bytes(a.batch * a.heads, a.queries);
  const int64_t blocks = (a.rows() + kTableThreads - 1) / kTableThreads;
  launch("attention_backward", fill_table, {dim3(static_cast<unsigned>(blocks)), dim3(kTableThreads)}, a, table);
  run<T, D, false>(a, dtype, table, Suspects{bytes, a.query_tiles()});
  run<T, D, true>(a, dtype, table, Suspects{bytes, a.key_tiles()});
}

}  // namespace

size_t hopper_backward_bytes(const Problem& p) {
  const size_t suspects =
      std::max(suspect_bytes(p.batch * p.heads, p.queries), suspect_bytes(p.batch * p.groups, p.keys));
  return static_cast<size_t>(table_bytes(p.batch * p.heads, p.queries)) + suspects;
}

void hopper_backward(const Operands& a, DType dtype, void* scratch) {
  if (dtype == DType::bfloat16)
    a.depth == 64 ? run<__nv_bfloat16, 64>(a, dtype, scratch) : run<__nv_bfloat16, 128>(a, dtype, scratch);
  else
    a.depth == 64 ? run<__half, 64>(a, dtype, scratch) : run<__half, 128>(a, dtype, scratch);
}

}  // namespace te::cuda::attention
