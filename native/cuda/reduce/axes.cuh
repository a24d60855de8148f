// Reductions over any axes, in the forms of plan/reduce_plan.h: rows, whose reduced elements lie side by side and are
// shared out to the threads of a group; and columns, where neighbouring threads fold neighbouring results. Results that
// are too few to fill a GPU are folded in parts, and the parts by a second kernel. What is added to what depends on
// the shape alone.
#pragma once
#include <algorithm>
#include <type_traits>

#include "cuda/launch.h"
#include "cuda/primitives.cuh"
#include "cuda/reduce/fold.cuh"
#include "cuda/vector.cuh"
#include "plan/reduce_plan.h"

namespace te::cuda::reduce {

constexpr int kThreads = 256, kMaxOuter = 8, kLoads = 4;
constexpr int64_t kWantedBlocks = 1056;  // 8 for each multiprocessor of an H100: enough on any GPU

// Division of indices below 2^52, without the subroutine that 64-bit division is.
struct Size {
  int64_t n;
  double inverse;
  bool narrow;  // indices and sizes are below 2^32
  __device__ int64_t quotient(int64_t index) const {
    if (narrow) return static_cast<uint32_t>(index) / static_cast<uint32_t>(n);
    const int64_t near = static_cast<int64_t>(static_cast<double>(index) * inverse), rest = index - near * n;
    return near + (rest >= n) - (rest < 0);
  }
};
inline Size size_of(int64_t n, bool narrow) { return {n, 1.0 / static_cast<double>(std::max<int64_t>(n, 1)), narrow}; }

// Offsets of the row-major indices of some axes.
struct Axes {
  int rank = 0;
  Size size[kMaxOuter];
  int64_t stride[kMaxOuter];
  __device__ int64_t at(int64_t index) const {
    int64_t offset = 0;
    for (int d = rank - 1; d > 0; --d) {
      const int64_t next = size[d].quotient(index);
      offset += (index - next * size[d].n) * stride[d];
      index = next;
    }
    return rank == 0 ? 0 : offset + index * stride[0];
  }
};

struct Problem {
  Axes kept, reduced;
  Size length;
  int64_t inner, rows;    // rows: runs of `length` that one result folds
  Size parts, tiles;      // tiles: of neighbouring results, for each kept index
  int64_t results, part;  // part: elements of one, along the reduced axes
  int group;              // threads of a row, or of a tile's width
  DType result;
};

__device__ inline void store_result(DType t, void* y, int64_t i, uint32_t code) {
  const size_t bytes = dtype_bytes(t);
  if (bytes == 4)
    static_cast<uint32_t*>(y)[i] = code;
  else if (bytes == 2)
    static_cast<uint16_t*>(y)[i] = static_cast<uint16_t>(code);
  else
    static_cast<uint8_t*>(y)[i] = static_cast<uint8_t>(code);
}

// To the result, or to the partial results [parts, results].
template <class P>
__device__ void finish(const P& policy, const Problem& p, const typename P::Accumulator& a, int64_t part,
                       int64_t result, void* y, typename P::Accumulator* partial) {
  if (p.parts.n > 1)
    partial[part * p.results + result] = a;
  else
    store_result(p.result, y, result, policy.result(a));
}

// That of the lane `offset` further.
template <class A>
__device__ A of_lane_below(const A& a, int offset) {
  if constexpr (std::is_class_v<A>)
    return {__shfl_down_sync(0xffffffffu, a.high, offset), __shfl_down_sync(0xffffffffu, a.low, offset)};
  else
    return __shfl_down_sync(0xffffffffu, a, offset);
}

// The accumulators of `lanes` neighbouring lanes, on the first of them.
template <class P>
__device__ typename P::Accumulator fold_lanes(const P& policy, typename P::Accumulator a, int lanes) {
  for (int offset = lanes / 2; offset > 0; offset /= 2) {
    policy.combine(a, of_lane_below(a, offset));
  }
  return a;
}

// Groups of p.group threads, each with a part of a result. V elements are loaded at once: 1 unless p.length allows
// more.
template <class P, class T, int V>
__global__ void __launch_bounds__(kThreads) fold_rows(const T* x, void* y, typename P::Accumulator* partial,
                                                      const P policy, const __grid_constant__ Problem p) {
  using Accumulator = typename P::Accumulator;
  Accumulator(&of_warp)[kThreads / 32] = block_memory<Accumulator[kThreads / 32]>();
  const int groups = kThreads / p.group, rank = static_cast<int>(threadIdx.x) % p.group;
  const int64_t task = static_cast<int64_t>(blockIdx.x) * groups + threadIdx.x / p.group;
  const bool works = task < p.results * p.parts.n;
  const int64_t result = works ? p.parts.quotient(task) : 0, part = task - result * p.parts.n;
  Accumulator a = policy.initial();
  if (works) {
    const T* const from = x + p.kept.at(result);
    const int64_t all = p.rows * p.length.n, begin = part * p.part;
    const int64_t end = begin + p.part < all ? begin + p.part : all;
    for (int64_t first = begin + static_cast<int64_t>(rank) * V; first < end; first += int64_t{kLoads} * V * p.group) {
      Vector<T, V> piece[kLoads];
#pragma unroll
      for (int u = 0; u < kLoads; ++u) {
        const int64_t k = first + static_cast<int64_t>(u) * V * p.group;
        if (k >= end) continue;
        const int64_t row = p.rows == 1 ? 0 : p.length.quotient(k);
        piece[u] = load_vector<V>(from + (p.rows == 1 ? 0 : p.reduced.at(row)) + (k - row * p.length.n));
      }
#pragma unroll
      for (int u = 0; u < kLoads; ++u) {
        const int64_t k = first + static_cast<int64_t>(u) * V * p.group;
        if (k >= end) continue;
#pragma unroll
        for (int e = 0; e < V; ++e) policy.take(a, piece[u].at[e], static_cast<uint32_t>(k) + e);
      }
    }
  }
  a = fold_lanes(policy, a, p.group < 32 ? p.group : 32);
  if (p.group > 32) {
    const int warp = static_cast<int>(threadIdx.x) / 32, warps = p.group / 32;
    if (threadIdx.x % 32 == 0) of_warp[warp] = a;
    __syncthreads();
    if (rank == 0)
      for (int w = 1; w < warps; ++w) policy.combine(a, of_warp[warp + w]);
  }
  if (works && rank == 0) finish(policy, p, a, part, result, y, partial);
}

// The accumulators [height][width] in shared memory, folded over the height; one for each of the first `width` threads.
template <class P>
__device__ typename P::Accumulator fold_height(const P& policy, const typename P::Accumulator* all, int height,
                                               int width, int column) {
  auto a = all[column];
  for (int i = 1; i < height; ++i) policy.combine(a, all[i * width + column]);
  return a;
}

// Tiles of p.group · V neighbouring results, each with a part of the reduced rows; a thread has V of the results and
// every (kThreads / p.group)th of the rows.
template <class P, class T, int V>
__global__ void __launch_bounds__(kThreads) fold_columns(const T* x, void* y, typename P::Accumulator* partial,
                                                         const P policy, const __grid_constant__ Problem p) {
  using Accumulator = typename P::Accumulator;
  Accumulator* const shared = &block_memory<Accumulator>();
  const int height = kThreads / p.group, width = p.group * V;
  const int64_t task = blockIdx.x, tiles = p.parts.quotient(task), part = task - tiles * p.parts.n;
  const int64_t outer = p.tiles.quotient(tiles), tile = tiles - outer * p.tiles.n;
  const int in_tile = static_cast<int>(threadIdx.x) % p.group * V, above = static_cast<int>(threadIdx.x) / p.group;
  const int64_t column = tile * width + in_tile;
  Accumulator a[V];
#pragma unroll
  for (int e = 0; e < V; ++e) a[e] = policy.initial();
  if (column < p.inner) {
    const T* const from = x + p.kept.at(outer) + column;
    const int64_t all = p.rows * p.length.n, begin = part * p.part;
    const int64_t end = begin + p.part < all ? begin + p.part : all;
    for (int64_t first = begin + above; first < end; first += int64_t{kLoads} * height) {
      Vector<T, V> piece[kLoads];
#pragma unroll
      for (int u = 0; u < kLoads; ++u) {
        const int64_t k = first + static_cast<int64_t>(u) * height;
        if (k >= end) continue;
        const int64_t row = p.rows == 1 ? 0 : p.length.quotient(k);
        piece[u] = load_vector<V>(from + (p.rows == 1 ? 0 : p.reduced.at(row)) + (k - row * p.length.n) * p.inner);
      }
#pragma unroll
      for (int u = 0; u < kLoads; ++u) {
        const int64_t k = first + static_cast<int64_t>(u) * height;
        if (k >= end) continue;
#pragma unroll
        for (int e = 0; e < V; ++e) policy.take(a[e], piece[u].at[e], static_cast<uint32_t>(k));
      }
    }
  }
#pragma unroll
  for (int e = 0; e < V; ++e) shared[above * width + in_tile + e] = a[e];
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < width; i += kThreads)
    if (tile * width + i < p.inner)
      finish(policy, p, fold_height(policy, shared, height, width, i), part, outer * p.inner + tile * width + i, y,
             partial);
}

// The partial results [parts, results].
template <class P>
__global__ void __launch_bounds__(kThreads) fold_parts(const typename P::Accumulator* partial, void* y, const P policy,
                                                       const __grid_constant__ Problem p, int width) {
  using Accumulator = typename P::Accumulator;
  Accumulator* const shared = &block_memory<Accumulator>();
  const int height = kThreads / width, column = static_cast<int>(threadIdx.x) % width;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * width, result = first + column;
  Accumulator a = policy.initial();
  if (result < p.results)
    for (int64_t part = threadIdx.x / width; part < p.parts.n; part += height)
      policy.combine(a, partial[part * p.results + result]);
  shared[threadIdx.x] = a;
  __syncthreads();
  if (threadIdx.x < width && result < p.results)
    store_result(p.result, y, result, policy.result(fold_height(policy, shared, height, width, column)));
}

inline int power_above(int64_t n, int most) {
  int p = 1;
  while (p < n && p < most) p *= 2;
  return p;
}

// Reads the plan once; false where it has more axes than the kernels take.
inline bool read_axes(const Offsets& from, bool narrow, Axes* to) {
  if (from.shape.size() > kMaxOuter) return false;
  to->rank = static_cast<int>(from.shape.size());
  for (size_t d = 0; d < from.shape.size(); ++d)
    to->size[d] = size_of(from.shape[d], narrow), to->stride[d] = from.stride[d];
  return true;
}

template <class P>
class Folding : public Kernel {
 public:
  // The caller has read the axes of the plan.
  Folding(const Aval& x, const Aval& y, const P& policy, const ReducePlan& plan, Problem problem)
      : dtype_(x.dtype), policy_(policy), p_(problem), narrow_(x.size() < INT32_MAX) {
    p_.length = size_of(plan.empty ? 0 : plan.length, narrow_), p_.inner = plan.inner, p_.rows = plan.reduced.count;
    p_.results = plan.results(), p_.result = y.dtype;
    const int64_t all = p_.rows * p_.length.n,
                  widest = std::min<int64_t>(8, 16 / static_cast<int64_t>(dtype_bytes(x.dtype)));
    rows_ = p_.inner == 1;
    vector_ = (rows_ ? p_.length.n : p_.inner) % widest == 0;
    const int64_t at_once = vector_ ? widest : 1;
    if (rows_) {
      p_.group = all > 8192 ? kThreads : power_above((all + 4 * at_once - 1) / (4 * at_once), 32);
      share(all, p_.results, p_.group == kThreads ? 4 * kLoads * kThreads * at_once : all);
      blocks_ = (p_.results * p_.parts.n * p_.group + kThreads - 1) / kThreads;
    } else {
      p_.group = power_above(p_.inner / at_once, 32);
      p_.tiles = size_of((p_.inner + p_.group * at_once - 1) / (p_.group * at_once), narrow_);
      const int64_t tiles = plan.kept.count * p_.tiles.n;
      share(all, tiles, 2 * kLoads * kThreads / p_.group);
      blocks_ = tiles * p_.parts.n;
    }
  }
  size_t scratch_bytes() const override {
    return p_.parts.n == 1 ? 0 : static_cast<size_t>(p_.parts.n * p_.results) * sizeof(typename P::Accumulator);
  }
  std::string path() const override {
    return std::string(rows_ ? "rows" : "columns") + (vector_ ? ", vectors" : "") + (p_.parts.n > 1 ? ", parts" : "");
  }
  void run(const Call& call) override {
    if (p_.results == 0) return;
    const size_t bytes = dtype_bytes(dtype_);
    if (bytes == 4)
      fold<uint32_t>(call);
    else if (bytes == 2)
      fold<uint16_t>(call);
    else
      fold<uint8_t>(call);
    if (p_.parts.n == 1) return;
    const int width = power_above(p_.results, 32);
    launch(
        "reduce parts", fold_parts<P>,
        {dim3(static_cast<unsigned>((p_.results + width - 1) / width)), dim3(kThreads), kThreads * sizeof(Accumulator)},
        static_cast<const Accumulator*>(call.scratch), call.out[0], policy_, p_, width);
  }

 private:
  using Accumulator = typename P::Accumulator;

  // Cuts what a result folds into parts of at least `least` elements, if there are fewer results (or tiles of them)
  // than blocks that are wanted.
  void share(int64_t all, int64_t tasks, int64_t least) {
    const int64_t wanted = std::max<int64_t>(1, kWantedBlocks / std::max<int64_t>(1, tasks));
    const int64_t parts = std::clamp<int64_t>(all / std::max<int64_t>(1, least), 1, wanted);
    constexpr int64_t kUnit = 16;  // parts begin where vectors do
    p_.part = ((all + parts - 1) / parts + kUnit - 1) / kUnit * kUnit;
    p_.parts = size_of(parts, narrow_);
  }
  template <class T>
  void fold(const Call& call) {
    if (vector_)
      start<T, std::min(8, kWidest<T>)>(call);  // 16 sums of bytes at once would not fit into registers
    else
      start<T, 1>(call);
  }
  template <class T, int V>
  void start(const Call& call) {
    const size_t shared = rows_ ? sizeof(Accumulator[kThreads / 32]) : kThreads * V * sizeof(Accumulator);
    launch("reduce", rows_ ? fold_rows<P, T, V> : fold_columns<P, T, V>,
           {dim3(static_cast<unsigned>(blocks_)), dim3(kThreads), shared}, call.input<T>(0), call.out[0],
           static_cast<Accumulator*>(call.scratch), policy_, p_);
  }

  DType dtype_;
  P policy_;
  Problem p_;
  bool narrow_, rows_, vector_;
  int64_t blocks_;
};

template <class P>
std::unique_ptr<Kernel> prepare_folding(const Node& node, const P& policy, std::vector<int64_t> axes,
                                        std::string* why) {
  const ReducePlan plan(node.inputs[0].shape, std::move(axes));
  Problem problem{};
  const bool narrow = node.inputs[0].size() < INT32_MAX;
  if (!read_axes(plan.kept, narrow, &problem.kept) || !read_axes(plan.reduced, narrow, &problem.reduced))
    return *why = "more axes than the kernel takes", nullptr;
  return std::make_unique<Folding<P>>(node.inputs[0], node.outputs[0], policy, plan, problem);
}

}  // namespace te::cuda::reduce
