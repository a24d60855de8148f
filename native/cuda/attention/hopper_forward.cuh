// Attention on Hopper: out = softmax(scale q kᵀ) v. One warp keeps the copy engine busy with tiles of keys and values;
// groups of four warps have 64 queries each. While a group's product with the values of one tile runs, it computes the
// softmax of the next tile (FlashAttention-3); named barriers let the groups take turns in giving the tensor cores
// work. Blocks stay, and take tiles of queries one after the other.
#pragma once
#include "cuda/attention/finish.cuh"
#include "cuda/attention/hopper_tiles.cuh"

namespace te::cuda::attention {

template <int D>
struct ForwardPlan {
  static constexpr int kGroups = D == 64 ? 3 : 2, kRows = 64 * kGroups, kKeys = 128, kStages = D == 64 ? 4 : 2;
  static constexpr int kThreads = 128 * (kGroups + 1);
  // Of the 64 K registers, those of a thread that copies and of one that computes.
  static constexpr int kCopyRegisters = D == 64 ? 32 : 24, kRegisters = D == 64 ? 160 : 240;
};

template <class T, int D>
struct ForwardMemory {
  using Plan = ForwardPlan<D>;
  HopperTile<T, D, Plan::kRows> q;
  HopperTile<T, D, Plan::kKeys> k[Plan::kStages], v[Plan::kStages];
  uint64_t q_full, q_empty;
  uint64_t k_full[Plan::kStages], k_empty[Plan::kStages], v_full[Plan::kStages], v_empty[Plan::kStages];
};

// The order of the tiles of queries: sections of heads whose keys and values stay in the L2 cache, in them the last
// positions, which see the most, first.
struct Schedule {
  int tiles, heads, section, count;  // of a head; all; in a section; of all heads
};

struct QueryTile {
  Head head;
  int number, first;  // of the head among all; query
  Span keys;          // tiles of keys
};

template <int D>
__device__ QueryTile query_tile_of(const Operands& a, const Schedule& schedule, int number) {
  using Plan = ForwardPlan<D>;
  const int per_section = schedule.section * schedule.tiles, section = number / per_section;
  const int first_head = section * schedule.section, heads = min(schedule.section, schedule.heads - first_head);
  const int rest = number - section * per_section;
  QueryTile tile;
  tile.number = first_head + rest % heads;
  tile.head = {tile.number / a.heads, tile.number % a.heads};
  tile.first = (schedule.tiles - 1 - rest / heads) * Plan::kRows;
  const int low = clamp_int(tile.first + a.below, 0, a.keys);
  tile.keys = tiles_over(low, clamp_int(min(tile.first + Plan::kRows, a.queries) + a.above, low, a.keys), Plan::kKeys);
  return tile;
}

template <class T, int D>
__device__ void copy_forward(const Operands& a, const Schedule& schedule, ForwardMemory<T, D>& m, const CUtensorMap& q,
                             const CUtensorMap& k, const CUtensorMap& v) {
  using Plan = ForwardPlan<D>;
  int turn = 0, count = 0;
  for (int number = blockIdx.x; number < schedule.count; number += gridDim.x) {
    const QueryTile tile = query_tile_of<D>(a, schedule, number);
    if (tile.keys.first == tile.keys.last) continue;
    const int group = tile.head.head / (a.heads / a.groups);
    barrier_wait(&m.q_empty, count % 2 ^ 1);
    ++count;
    barrier_arrive_expecting(&m.q_full, sizeof m.q);
    m.q.load(q, &m.q_full, tile.head.head, tile.first, tile.head.b);
    for (int i = tile.keys.last - 1; i >= tile.keys.first; --i, ++turn) {
      const int stage = turn % Plan::kStages, parity = turn / Plan::kStages % 2 ^ 1;
      barrier_wait(&m.k_empty[stage], parity);
      barrier_arrive_expecting(&m.k_full[stage], sizeof m.k[0]);
      m.k[stage].load(k, &m.k_full[stage], group, i * Plan::kKeys, tile.head.b);
      barrier_wait(&m.v_empty[stage], parity);
      barrier_arrive_expecting(&m.v_full[stage], sizeof m.v[0]);
      m.v[stage].load(v, &m.v_full[stage], group, i * Plan::kKeys, tile.head.b);
    }
  }
}

// The softmax of a thread's two rows as their scores come. Weights are 2^(c s - base) with base = c max, rounded: the
// rounding takes part in every weight of a row alike, and `correction` takes it out at the end.
struct OnlineSoftmax {
  float c;  // scale log2(e)
  float top[2] = {-INFINITY, -INFINITY}, base[2] = {0, 0}, sum[2] = {0, 0};
  float shrink[2] = {1, 1};  // of what was summed before

  template <int N>
  __device__ void take(const float (&s)[N], float (&weights)[N]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      float best = top[r];
#pragma unroll
      for (int i = 2 * r; i < N; i += 4) best = fmaxf(best, fmaxf(s[i], s[i + 1]));
      best = quad_max(best);
      const float next = best == -INFINITY ? 0.0f : __fmul_rn(best, c);
      shrink[r] = top[r] == -INFINITY ? 1.0f : exp2_fast(base[r] - next);
      top[r] = best;
      base[r] = next;
      float part = 0;
#pragma unroll
      for (int i = 2 * r; i < N; i += 4)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          weights[i + e] = exp2_fast(fmaf(s[i + e], c, -next));
          part += weights[i + e];
        }
      sum[r] = fmaf(sum[r], shrink[r], part);
    }
  }
  __device__ float correction(int r) const {
    return top[r] == -INFINITY ? 1.0f : exp2_fast(-fmaf(top[r], c, -base[r]));
  }
};

// Whether all rows of a group, from `row` on, see all of the tile of `keys` keys from `first` on.
__device__ inline bool all_visible(const Operands& a, int row, int first, int keys) {
  return first >= row + 63 + a.below && first + keys <= row + 1 + a.above && first + keys <= a.keys;
}
// Hides the scores that they do not see.
template <int N>
__device__ void hide(const Operands& a, float (&s)[N], int row, int first, const GroupLane& me) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int i = row + me.row + 8 * r, shift = first + me.column;
    const int low = clamp_int(i + a.below, 0, a.keys) - shift, high = clamp_int(i + 1 + a.above, 0, a.keys) - shift;
#pragma unroll
    for (int n = 2 * r; n < N; n += 4)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = n / 4 * 8 + e;
        if (column < low || column >= high) s[n + e] = -INFINITY;
      }
  }
}

template <class T, int D>
__device__ void finish_forward(const Operands& a, const QueryTile& tile, int row, const GroupLane& me,
                               const float (&o)[D / 2], const OnlineSoftmax& softmax, const Suspects& suspects) {
  float scale[2], probe = 0;
  T* to[2];
  bool inside[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int i = row + me.row + 8 * r;
    inside[r] = i < a.queries;
    const float correction = softmax.correction(r), total = quad_sum(softmax.sum[r]) * correction;
    const RowEnd<T> end(a, tile.head, inside[r] ? i : 0, softmax.top[r] * a.scale, total,
                        inside[r] && me.lane % 4 == 0);
    scale[r] = end.scale() * correction;
    to[r] = end.out();
    probe = fmaf(total, 0.0f, probe);
  }
  store_product<T, D>(o, scale, to, inside);
  const bool any = __any_sync(0xffffffffu, probe != 0 || is_suspect(o));
  if (me.lane == 0 && row < a.queries) suspects.of(tile.number, row)[me.warp] = any;
}

template <class T, int D>
__device__ void compute_forward(const Operands& a, const Schedule& schedule, ForwardMemory<T, D>& m, int group,
                                const Suspects& suspects) {
  using Plan = ForwardPlan<D>;
  constexpr int kScores = Plan::kKeys / 2;
  const GroupLane me;
  const auto release = [&](uint64_t* barrier) {
    if (me.lane == 0) barrier_arrive(barrier);
  };
  // Group g waits at meeting 1 + g for its turn.
  const int own = 1 + group, other = 1 + (group + 1) % Plan::kGroups;
  if (group == Plan::kGroups - 1) meeting_arrive(other, 256);
  int turn = 0, count = 0;
  float o[D / 2];
  uint32_t p[kScores / 2];
  for (int number = blockIdx.x; number < schedule.count; number += gridDim.x) {
    const QueryTile tile = query_tile_of<D>(a, schedule, number);
    const int row = tile.first + group * 64, tiles = tile.keys.last - tile.keys.first;
    OnlineSoftmax softmax{a.scale * kLog2e};
#pragma unroll
    for (int i = 0; i < D / 2; ++i) o[i] = 0;
    if (tiles > 0) {
      int first = (tile.keys.last - 1) * Plan::kKeys, stage = turn % Plan::kStages, parity = turn / Plan::kStages % 2;
      barrier_wait(&m.q_full, count % 2);
      barrier_wait(&m.k_full[stage], parity);
      float s[kScores], weights[kScores];
      group_begin();
      multiply_rows(s, m.q, group * 64, m.k[stage]);
      group_commit();
      group_wait<0>();
      hold(s);
      release(&m.k_empty[stage]);
      if (!all_visible(a, row, first, Plan::kKeys)) hide(a, s, row, first, me);
      softmax.take(s, weights);
      pack_rows<T>(p, weights);
      const auto wait_for_keys = [&](int later) {
        barrier_wait(&m.k_full[later % Plan::kStages], later / Plan::kStages % 2);
      };
      if (tiles > 1) wait_for_keys(turn + 1);
      // The scores of the next tile and the product with the values of this one.
      const auto step = [&](auto masked, bool more) {
        const int next = (turn + 1) % Plan::kStages;
        float s[kScores], weights[kScores];
        meeting_wait(own, 256);
        group_begin();
        multiply_rows(s, m.q, group * 64, m.k[next]);
        group_commit();
        barrier_wait(&m.v_full[stage], parity);
        group_begin();
        accumulate_rows(o, p, m.v[stage]);
        group_commit();
        meeting_arrive(other, 256);
        group_wait<1>();
        hold(s);
        release(&m.k_empty[next]);
        if constexpr (masked) hide(a, s, row, first, me);
        softmax.take(s, weights);
        hold(weights);
        // This branch, and none before it, keeps the compiler from waiting for the product with the values before the
        // softmax, which is to run meanwhile.
        if (more) wait_for_keys(turn + 2);
        group_wait<0>();
        hold(o);
        hold(p);
        release(&m.v_empty[stage]);
#pragma unroll
        for (int e = 0; e < D / 2; ++e) o[e] *= softmax.shrink[e / 2 % 2];
        pack_rows<T>(p, weights);
        ++turn;
        stage = next, parity = turn / Plan::kStages % 2;
      };
      for (int i = 1; i < tiles; ++i) {
        first -= Plan::kKeys;
        if (all_visible(a, row, first, Plan::kKeys))
          step(std::false_type{}, i + 1 < tiles);
        else
          step(std::true_type{}, i + 1 < tiles);
      }
      release(&m.q_empty);
      ++count;
      barrier_wait(&m.v_full[stage], parity);
      group_begin();
      accumulate_rows(o, p, m.v[stage]);
      group_commit();
      group_wait<0>();
      hold(o);
      release(&m.v_empty[stage]);
      ++turn;
    }
    if (row < a.queries) finish_forward<T, D>(a, tile, row, me, o, softmax, suspects);
  }
  if (group == 0) meeting_wait(own, 256);  // the last group's last arrival
}

template <class T, int D>
__global__ void __launch_bounds__(ForwardPlan<D>::kThreads, 1)
    hopper_attention(const __grid_constant__ Operands a, const __grid_constant__ CUtensorMap q,
                     const __grid_constant__ CUtensorMap k, const __grid_constant__ CUtensorMap v, Schedule schedule,
                     Suspects suspects) {
  using Plan = ForwardPlan<D>;
  ForwardMemory<T, D>& m = block_memory<ForwardMemory<T, D>>();
  if (threadIdx.x == 0) {
    barrier_init(&m.q_full, 1);
    barrier_init(&m.q_empty, 4 * Plan::kGroups);
    for (int i = 0; i < Plan::kStages; ++i) {
      barrier_init(&m.k_full[i], 1);
      barrier_init(&m.v_full[i], 1);
      barrier_init(&m.k_empty[i], 4 * Plan::kGroups);
      barrier_init(&m.v_empty[i], 4 * Plan::kGroups);
    }
    barriers_ready();
  }
  __syncthreads();
  const int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (group == 0) {
    give_registers<Plan::kCopyRegisters>();
    if (threadIdx.x == 0) copy_forward<T, D>(a, schedule, m, q, k, v);
  } else {
    take_registers<Plan::kRegisters>();
    compute_forward<T, D>(a, schedule, m, group - 1, suspects);
  }
}

}  // namespace te::cuda::attention
