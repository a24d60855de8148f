// Launches attention on Hopper: the kernel of hopper_forward.cuh, and after it one that computes the rows again in
// which something is not finite.
#include "cuda/attention/hopper.h"
#include "cuda/attention/hopper_forward.cuh"
#include "cuda/attention/hopper_maps.h"
#include "cuda/attention/simple.cuh"
#include "cuda/launch.h"

namespace te::cuda::attention {
namespace {

template <class T>
__global__ void __launch_bounds__(kSimpleThreads) suspect_rows(const __grid_constant__ Operands a, Suspects suspects) {
  const ForwardBlock block(a, kTile);
  if (suspects.any(block.head.b * a.heads + block.head.head, block.first))
    simple_forward<T>(a, block, block.first, block_memory<SimpleMemory>());
}

Schedule schedule_of(const Operands& a, int rows, int depth) {
  constexpr int64_t kCached = 24 << 20;  // bytes of keys and values, of 50 MB of cache
  const int per_group = a.heads / a.groups;
  const int64_t bytes = static_cast<int64_t>(a.keys) * depth * 4;
  Schedule s;
  s.tiles = (a.queries + rows - 1) / rows;
  s.heads = a.batch * a.heads;
  s.section = static_cast<int>(std::clamp<int64_t>(kCached / bytes * per_group, per_group, s.heads));
  s.count = s.tiles * s.heads;
  return s;
}

template <class T, int D>
void run(const Operands& a, DType dtype, const Suspects& suspects) {
  using Plan = ForwardPlan<D>;
  const size_t bytes = sizeof(ForwardMemory<T, D>);
  const Schedule schedule = schedule_of(a, Plan::kRows, D);
  allow_shared(hopper_attention<T, D>, bytes);
  const int blocks = std::min(schedule.count, context().properties.multiProcessorCount);
  launch("attention", hopper_attention<T, D>, {dim3(static_cast<unsigned>(blocks)), dim3(Plan::kThreads), bytes}, a,
         rows_map(a.q, dtype, a.q_rows, D, a.heads, a.queries, a.batch, Plan::kRows),
         rows_map(a.k, dtype, a.k_rows, D, a.groups, a.keys, a.batch, Plan::kKeys),
         rows_map(a.v, dtype, a.v_rows, D, a.groups, a.keys, a.batch, Plan::kKeys), schedule, suspects);
  allow_shared(suspect_rows<T>, sizeof(SimpleMemory));
  launch("attention", suspect_rows<T>,
         {dim3(static_cast<unsigned>(suspects.tiles * schedule.heads)), dim3(kSimpleThreads), sizeof(SimpleMemory)}, a,
         suspects);
}

}  // namespace

void hopper_forward(const Operands& a, DType dtype, void* scratch) {
  const Suspects suspects{static_cast<uint8_t*>(scratch), a.query_tiles()};
  if (dtype == DType::bfloat16)
    a.depth == 64 ? run<__nv_bfloat16, 64>(a, dtype, suspects) : run<__nv_bfloat16, 128>(a, dtype, suspects);
  else
    a.depth == 64 ? run<__half, 64>(a, dtype, suspects) : run<__half, 128>(a, dtype, suspects);
}

}  // namespace te::cuda::attention
