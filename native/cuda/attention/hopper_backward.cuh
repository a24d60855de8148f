// Gradients of attention on Hopper. One kernel, of keys or of queries: a block
// keeps tiles x1 and x2 of 128 of its own rows, tiles y1 and y2 of the other
// side stream by, and for each
//
//   s = x1 y1ᵀ    p = exp(scale s - max) / sum    dp = x2 y2ᵀ    ds = p (dp -
//   D)
//
//   of keys:     x = k, v     y = q, dout     dk = scale Σ ds q     dv = Σ p
//   dout of queries:  x = q, dout  y = k, v        dq = scale Σ ds k
//
// Scores, weights and their gradients stay in registers: what a product gives
// is laid out as the next one takes it. No sum is shared by blocks, so that
// results have the same bits in every run.
#pragma once
#include "cuda/attention/hopper_tiles.cuh"

namespace te::cuda::attention {

template <int D, bool OfKeys>
struct GradientPlan {
  static constexpr int kGroups = 2, kRows = 64 * kGroups, kStream = D == 64 && !OfKeys ? 128 : 64, kStages = 3;
  static constexpr int kThreads = 128 * (kGroups + 1), kCopyRegisters = 24, kRegisters = 240;
};

// Of the queries of all heads, in rows of numbers along the queries: what p and
// ds are counted from.
enum TableRow { kMax, kLogSum, kMean, kTableRows };  // max, log2(sum), D

template <class T, int D, bool OfKeys>
struct GradientMemory {
  using Plan = GradientPlan<D, OfKeys>;
  HopperTile<T, D, Plan::kRows> x1, x2;
  HopperTile<T, D, Plan::kStream> y1[Plan::kStages], y2[Plan::kStages];
  alignas(128) float table[Plan::kStages][kTableRows][Plan::kStream];
  uint64_t x_full, full[Plan::kStages], empty[Plan::kStages];
};

// Numbers of a row of the table, of which `queries` are filled: rows begin at
// multiples of 16 bytes.
constexpr int table_columns(const Operands& a) { return (a.queries + 3) / 4 * 4; }

// A tile of keys of one group of heads, or of queries of one head, and what
// streams by: tiles of each of `heads` heads from `other` on.
struct GradientTile {
  int b, own, other, heads, first;
  Span stream;
  __device__ int turns() const { return heads * (stream.last - stream.first); }
  __device__ int head_of(int turn) const { return other + turn / (stream.last - stream.first); }
  __device__ int tile_of(int turn) const { return stream.first + turn % (stream.last - stream.first); }
};

template <int D, bool OfKeys>
__device__ GradientTile gradient_tile_of(const Operands& a) {
  using Plan = GradientPlan<D, OfKeys>;
  const int length = OfKeys ? a.keys : a.queries, heads = OfKeys ? a.groups : a.heads, per_group = a.heads / a.groups;
  const int tiles = (length + Plan::kRows - 1) / Plan::kRows, number = blockIdx.x / tiles, place = blockIdx.x % tiles;
  GradientTile t;
  t.b = number / heads;
  t.own = number % heads;
  t.heads = OfKeys ? per_group : 1;
  t.other = OfKeys ? t.own * per_group : t.own / per_group;
  t.first = (OfKeys ? place : tiles - 1 - place) * Plan::kRows;  // with a causal mask those that see the most go first
  const int last = min(t.first + Plan::kRows, length) - 1, others = OfKeys ? a.queries : a.keys;
  const int low = clamp_int(OfKeys ? t.first - a.above : t.first + a.below, 0, others);
  t.stream = tiles_over(low, clamp_int((OfKeys ? last - a.below : last + a.above) + 1, low, others), Plan::kStream);
  return t;
}

template <class T, int D, bool OfKeys>
__device__ void copy_gradient(const GradientTile& t, int heads, GradientMemory<T, D, OfKeys>& m, const CUtensorMap& x1,
                              const CUtensorMap& x2, const CUtensorMap& y1, const CUtensorMap& y2,
                              const CUtensorMap& table) {
  using Plan = GradientPlan<D, OfKeys>;
  const int turns = t.turns();
  if (turns == 0) return;
  barrier_arrive_expecting(&m.x_full, sizeof m.x1 + sizeof m.x2);
  m.x1.load(x1, &m.x_full, t.own, t.first, t.b);
  m.x2.load(x2, &m.x_full, t.own, t.first, t.b);
  for (int turn = 0; turn < turns; ++turn) {
    const int stage = turn % Plan::kStages, head = t.head_of(turn), first = t.tile_of(turn) * Plan::kStream;
    uint64_t* full = &m.full[stage];
    barrier_wait(&m.empty[stage], turn / Plan::kStages % 2 ^ 1);
    barrier_arrive_expecting(full, sizeof m.y1[0] + sizeof m.y2[0] + (OfKeys ? sizeof m.table[0] : 0));
    m.y1[stage].load(y1, full, head, first, t.b);
    if constexpr (OfKeys) copy_box(m.table[stage], &table, full, first, 0, t.b * heads + head, 0);
    m.y2[stage].load(y2, full, head, first, t.b);
  }
}

// Which columns go with row i: i + below to i + above, of those there are.
template <bool OfKeys>
struct Columns {
  int64_t below, above;
  int count;
  __device__ explicit Columns(const Operands& a)
      : below(OfKeys ? -a.above : a.below), above(OfKeys ? -a.below : a.above), count(OfKeys ? a.queries : a.keys) {}
  // Whether all of a tile of `columns` columns from `first` on go with all of a
  // group's rows from `row` on.
  __device__ bool all(int row, int first, int columns) const {
    return first >= row + 63 + below && first + columns <= row + 1 + above && first + columns <= count;
  }
};

// Hides the scores of those that do not.
template <bool OfKeys, int N>
__device__ void hide_gradient(const Columns<OfKeys>& columns, float (&s)[N], int row, int first, const GroupLane& me) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int i = row + me.row + 8 * r, shift = first + me.column;
    const int low = clamp_int(i + columns.below, 0, columns.count) - shift,
              high = clamp_int(i + 1 + columns.above, 0, columns.count) - shift;
#pragma unroll
    for (int n = 2 * r; n < N; n += 4)
#pragma unroll
      for (int e = 0; e < 2; ++e) {
        const int column = n / 4 * 8 + e;
        if (column < low || column >= high) s[n + e] = -INFINITY;
      }
  }
}

// A number of the table for each of a thread's elements: of its two rows, or of
// its columns in shared memory.
template <bool OfKeys>
struct TableNumbers {
  float rows[2];
  const float* columns;
  __device__ float of(int i) const { return OfKeys ? columns[i / 4 * 8 + i % 2] : rows[i / 2 % 2]; }
};

template <class T, int D, bool OfKeys>
__device__ void compute_gradient(const Operands& a, const GradientTile& t, GradientMemory<T, D, OfKeys>& m, int group,
                                 const float* table, const Suspects& suspects) {
  using Plan = GradientPlan<D, OfKeys>;
  constexpr int kScores = Plan::kStream / 2;
  const GroupLane me;
  const int row = t.first + group * 64, turns = t.turns();
  TableNumbers<OfKeys> numbers[kTableRows] = {};
  if constexpr (!OfKeys)
#pragma unroll
    for (int n = 0; n < kTableRows; ++n)
#pragma unroll
      for (int r = 0; r < 2; ++r)
        numbers[n].rows[r] = table[(static_cast<int64_t>(t.b * a.heads + t.own) * kTableRows + n) * table_columns(a) +
                                   min(row + me.row + 8 * r, a.queries - 1)];
  float with_ds[D / 2], with_p[OfKeys ? D / 2 : 1];
  uint32_t p[kScores / 2], ds[kScores / 2];
#pragma unroll
  for (float& x : with_ds) x = 0;
#pragma unroll
  for (float& x : with_p) x = 0;
  const Columns<OfKeys> columns(a);
  const auto wait_for_turn = [&](int turn) { barrier_wait(&m.full[turn % Plan::kStages], turn / Plan::kStages % 2); };
  const auto step = [&](auto masked, int turn) {
    const int stage = turn % Plan::kStages;
    float s[kScores], weights[kScores], dp[kScores];
    group_begin();
    multiply_rows(s, m.x1, group * 64, m.y1[stage]);
    group_commit();
    multiply_rows(dp, m.x2, group * 64, m.y2[stage]);
    group_commit();
    if constexpr (OfKeys)
#pragma unroll
      for (int n = 0; n < kTableRows; ++n) numbers[n].columns = m.table[stage][n] + me.column;
    group_wait<1>();
    hold(s);
    if constexpr (masked) hide_gradient(columns, s, row, t.tile_of(turn) * Plan::kStream, me);
#pragma unroll
    for (int i = 0; i < kScores; ++i)
      weights[i] = exp2_fast(fmaf(fmaf(s[i], a.scale, -numbers[kMax].of(i)), kLog2e, -numbers[kLogSum].of(i)));
    hold(weights);
    // This branch, and none before it, keeps the compiler from waiting for dp
    // before the weights are there.
    if (turn + 1 < turns) wait_for_turn(turn + 1);
    if constexpr (OfKeys) {
      pack_rows<T>(p, weights);
      group_begin();
      accumulate_rows(with_p, p, m.y2[stage]);
      group_commit();
      group_wait<1>();
    } else {
      group_wait<0>();
    }
    hold(dp);
#pragma unroll
    for (int i = 0; i < kScores; ++i) weights[i] *= dp[i] - numbers[kMean].of(i);
    pack_rows<T>(ds, weights);
    group_begin();
    accumulate_rows(with_ds, ds, m.y1[stage]);
    group_commit();
    group_wait<0>();
    hold(with_ds);
    hold(ds);
    if constexpr (OfKeys) {
      hold(with_p);
      hold(p);
    }
    if (me.lane == 0) barrier_arrive(&m.empty[stage]);
  };
  if (turns > 0) {
    barrier_wait(&m.x_full, 0);
    wait_for_turn(0);
  }
  for (int turn = 0; turn < turns; ++turn) {
    if (columns.all(row, t.tile_of(turn) * Plan::kStream, Plan::kStream))
      step(std::false_type{}, turn);
    else
      step(std::true_type{}, turn);
  }

  const int length = OfKeys ? a.keys : a.queries;
  if (row >= length) return;
  const bool inside[2] = {row + me.row < length, row + me.row + 8 < length};
  const auto store = [&](const float(&sum)[D / 2], void* data, const Rows& rows, float factor) {
    const float scale[2] = {factor, factor};
    T* to[2];
#pragma unroll
    for (int r = 0; r < 2; ++r)
      to[r] = static_cast<T*>(data) + rows.at(t.b, inside[r] ? row + me.row + 8 * r : 0, t.own);
    store_product<T, D>(sum, scale, to, inside);
  };
  bool any = is_suspect(with_ds);
  store(with_ds, OfKeys ? a.dk : a.dq, OfKeys ? a.k_rows : a.q_rows, a.scale);
  if constexpr (OfKeys) {
    any = any || is_suspect(with_p);
    store(with_p, a.dv, a.v_rows, 1);
  }
  any = __any_sync(0xffffffffu, any);
  if (me.lane == 0) suspects.of(t.b * (OfKeys ? a.groups : a.heads) + t.own, row)[me.warp] = any;
}

template <class T, int D, bool OfKeys>
__global__ void __launch_bounds__(GradientPlan<D, OfKeys>::kThreads, 1)
    hopper_gradient(const __grid_constant__ Operands a, const __grid_constant__ CUtensorMap x1,
                    const __grid_constant__ CUtensorMap x2, const __grid_constant__ CUtensorMap y1,
                    const __grid_constant__ CUtensorMap y2, const __grid_constant__ CUtensorMap table_boxes,
                    const float* table, Suspects suspects) {
  using Plan = GradientPlan<D, OfKeys>;
  GradientMemory<T, D, OfKeys>& m = block_memory<GradientMemory<T, D, OfKeys>>();
  if (threadIdx.x == 0) {
    barrier_init(&m.x_full, 1);
    for (int i = 0; i < Plan::kStages; ++i) {
      barrier_init(&m.full[i], 1);
      barrier_init(&m.empty[i], 4 * Plan::kGroups);
    }
    barriers_ready();
  }
  __syncthreads();
  const GradientTile tile = gradient_tile_of<D, OfKeys>(a);
  const int group = __shfl_sync(0xffffffffu, threadIdx.x / 128, 0);
  if (group == 0) {
    give_registers<Plan::kCopyRegisters>();
    if (threadIdx.x == 0) copy_gradient<T, D, OfKeys>(tile, a.heads, m, x1, x2, y1, y2, table_boxes);
  } else {
    take_registers<Plan::kRegisters>();
    compute_gradient<T, D, OfKeys>(a, tile, m, group - 1, table, suspects);
  }
}

}  // namespace te::cuda::attention
