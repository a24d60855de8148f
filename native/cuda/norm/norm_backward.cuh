// Gradients of LayerNorm and RMSNorm. With xhat = (x - mean) rstd and a = dy gamma':
//   dx = rstd (a - mean(a) - xhat mean(a xhat)),   dgamma = sum over rows of dy xhat,   dbeta = sum over rows of dy
// (rms: without mean and mean(a)). Rows are divided into parts that depend on the shape alone; a block sums dgamma and
// dbeta of its part, and column_sums.cuh adds the parts in order: the same bits in every run.
#pragma once
#include "cuda/norm/column_sums.cuh"
#include "cuda/norm/norm.cuh"

namespace te::cuda {

struct NormGradient {
  AnyRow dy, gamma;
  float gamma_offset;
  const float *mean, *rstd;  // of the rows
  float* sums;               // of part p: dgamma at [2 p, ·], dbeta at [2 p + 1, ·]
  int64_t pitch;             // floats from one to the next
  float* lost;               // of the rows, where dgamma has a kernel of its own
};

// What the second look needs to know of a row: the stored mean, with what its rounding lost, and the means of a and of
// a xhat; the latter three times rstd.
struct RowGradient {
  float mean, rstd, lost, c1, c2;

  __device__ float xhat(float x) const { return (x - mean) * rstd - lost; }
  __device__ float dx(float a, float xhat) const { return a * rstd - c1 - xhat * c2; }
};

// sums: of a (x - mean), of a, of x - mean.
template <bool kLayer>
__device__ inline RowGradient row_gradient(const Floats<3>& sums, float mean, float rstd, int columns) {
  const float share = 1.0f / static_cast<float>(columns);
  if constexpr (!kLayer) return {0, rstd, 0, 0, rstd == 0 ? 0 : rstd * (sums.item[0] * share) * rstd};
  const float mean_a = sums.item[1] * share, lost = sums.item[2] * share;
  // Squares beyond float32 make rstd 0, and with it xhat: the sums may not be numbers then.
  const float mean_ax = rstd == 0 ? 0 : rstd * (sums.item[0] * share - lost * mean_a);
  return {mean, rstd, lost * rstd, mean_a * rstd, mean_ax * rstd};
}

// Adds what a pack of a row contributes to its sums.
template <bool kLayer, int W>
__device__ inline void add_to_sums(Floats<3>& sums, const Place<W>& place, int column, const float (&x)[W],
                                   const float (&g)[W], const float (&scale)[W], float mean) {
#pragma unroll
  for (int k = 0; k < W; ++k) {
    const float a = g[k] * scale[k];
    if constexpr (kLayer) {
      const float d = place.has(column + k) ? x[k] - mean : 0.0f;
      sums.item[1] += a;
      sums.item[2] += d;
      sums.item[0] += a * d;
    } else {
      sums.item[0] += a * x[k];
    }
  }
}

template <bool kLayer, class Row>
__device__ inline Floats<3> fold_sums(Group& group, const Row& sums) {
  if constexpr (kLayer) return group.sum(sums);
  return {{group.sum(Floats<1>{{sums.item[0]}}).item[0], 0.0f, 0.0f}};
}

template <int W>
__device__ inline void take_scale(const NormGradient& norm, const Place<W>& place, int column, float (&scale)[W]) {
  take_shared(norm.gamma, place, column, scale);
#pragma unroll
  for (int k = 0; k < W; ++k) scale[k] += norm.gamma_offset;
}

// dx, and the sums of dgamma and dbeta over the rows of part blockIdx.x, from one read of x and dy: rows are held.
// Where a thread has one pack of a row, the next row's is under way meanwhile.
template <int N>
constexpr int kHeldThreads = N == 1 ? 1024 : 512;  // two packs and more take up to 128 registers
template <bool kLayer, class T, int N>
__global__ __launch_bounds__(kHeldThreads<N>) void norm_gradient(const T* x, const __grid_constant__ NormGradient norm,
                                                                 T* dx, const __grid_constant__ RowPlan plan) {
  __shared__ GroupMemory memory;
  constexpr int W = kPackWidth<T>, kKinds = kLayer ? 2 : 1;
  struct Held {
    Row<T, N> x, dy;
    float mean, rstd;
  };
  Group group(plan.group, memory);
  ColumnSums<kKinds, N, W> sums;
  const int64_t part = blockIdx.x, parts = gridDim.x;
  const int64_t begin = plan.rows * part / parts, end = plan.rows * (part + 1) / parts;
  const auto place_of = [&](int64_t row) { return Place<W>::of_columns(group, row, end, plan.columns); };
  const auto take = [&](int64_t row) {
    const Place<W> place = place_of(row);
    return Held{{x, place},
                {static_cast<const T*>(norm.dy.data), place},
                kLayer && row < end ? norm.mean[row] : 0.0f,
                row < end ? norm.rstd[row] : 0.0f};
  };
  const Place<W> columns = Place<W>::of_columns(group, 0, 1, plan.columns);
  const int groups = static_cast<int>(blockDim.x) / plan.group;
  Held held = take(begin + group.index());
  for (int64_t first = begin; first < end; first += groups) {
    const int64_t row = first + group.index();
    Held next = held;
    if constexpr (N == 1) next = take(row + groups);
    Floats<3> means{};
    each_of_two(held.x, held.dy, [&](int, int column, const float(&v)[W], const float(&g)[W]) {
      float scale[W];
      take_scale(norm, columns, column, scale);
      add_to_sums<kLayer>(means, held.x.place(), column, v, g, scale, held.mean);
    });
    const RowGradient r = row_gradient<kLayer>(fold_sums<kLayer>(group, means), held.mean, held.rstd, plan.columns);
    each_of_two(held.x, held.dy, [&](int i, int column, const float(&v)[W], const float(&g)[W]) {
      float numbers[W];
      take_scale(norm, columns, column, numbers);
#pragma unroll
      for (int k = 0; k < W; ++k) numbers[k] = r.dx(g[k] * numbers[k], r.xhat(v[k]));
      put_numbers(dx + held.x.place().start, held.x.place(), column, numbers);
#pragma unroll
      for (int k = 0; k < W; ++k) numbers[k] = g[k] * r.xhat(v[k]);
      sums.add(0, i, numbers);
      if constexpr (kLayer) sums.add(1, i, g);
    });
    if constexpr (N == 1)
      held = next;
    else
      held = take(row + groups);
  }
  sums.finish(group, columns, norm.sums + part * kKinds * norm.pitch, norm.pitch);
}

// dx of long rows, or where dy has another dtype than x: a block per row, which it reads twice.
template <bool kLayer, class T>
__global__ __launch_bounds__(kRowThreads) void long_norm_gradient(const T* x, const __grid_constant__ NormGradient norm,
                                                                  T* dx, const __grid_constant__ RowPlan plan) {
  __shared__ GroupMemory memory;
  constexpr int W = kPackWidth<T>;
  Group group(plan.group, memory);
  const Place<W> place(group, plan);
  const int64_t row = group.row();
  const AnyRow dy = norm.dy.at(place.start);
  const bool exists = row < plan.rows;
  const float mean = kLayer && exists ? norm.mean[row] : 0.0f, rstd = exists ? norm.rstd[row] : 0.0f;
  const auto each = [&](const auto& visit) {
#pragma unroll 2
    for (int i = 0; place.any_at(place.column(i)); ++i) {
      float v[W], g[W], scale[W];
      decode(take_pack(x + place.start, place, place.column(i)), v);
      take_numbers(dy, place, place.column(i), g);
      take_scale(norm, place, place.column(i), scale);
      visit(place.column(i), v, g, scale);
    }
  };
  Floats<3> means{};
  each([&](int column, const float(&v)[W], const float(&g)[W], const float(&scale)[W]) {
    add_to_sums<kLayer>(means, place, column, v, g, scale, mean);
  });
  const RowGradient r = row_gradient<kLayer>(fold_sums<kLayer>(group, means), mean, rstd, plan.columns);
  if (kLayer && group.rank() == 0 && exists) norm.lost[row] = r.lost;
  each([&](int column, const float(&v)[W], const float(&g)[W], const float(&scale)[W]) {
    float result[W];
#pragma unroll
    for (int k = 0; k < W; ++k) result[k] = r.dx(g[k] * scale[k], r.xhat(v[k]));
    put_numbers(dx + place.start, place, column, result);
  });
}

// The sums for these, of part blockIdx.y: a warp has 32 packs of columns, a block eight rows at a time.
constexpr int kSumThreads = 256;
template <bool kLayer, class T>
__global__ __launch_bounds__(kSumThreads) void norm_parameter_sums(const T* x,
                                                                   const __grid_constant__ NormGradient norm,
                                                                   int64_t rows, int row_columns) {
  __shared__ GroupMemory memory;
  constexpr int W = kPackWidth<T>, kKinds = kLayer ? 2 : 1;
  const Group group(32, memory);
  ColumnSums<kKinds, 1, W> sums;
  const int64_t part = blockIdx.y, parts = gridDim.y;
  const int64_t begin = rows * part / parts, end = rows * (part + 1) / parts;
  const auto place_of = [&](int64_t row) {
    Place<W> place = Place<W>::of_columns(group, row, rows, row_columns);
    place.first += static_cast<int>(blockIdx.x) * 32 * W;
    return place;
  };
  for (int64_t row = begin + group.index(); row < end; row += kSumThreads / 32) {
    const Place<W> place = place_of(row);
    float v[W], g[W], products[W];
    decode(take_pack(x + place.start, place, place.first), v);
    take_numbers(norm.dy.at(place.start), place, place.first, g, place.aligned);
    const RowGradient r{kLayer ? norm.mean[row] : 0.0f, norm.rstd[row], kLayer ? norm.lost[row] : 0.0f, 0, 0};
#pragma unroll
    for (int k = 0; k < W; ++k) products[k] = g[k] * r.xhat(v[k]);
    sums.add(0, 0, products);
    if constexpr (kLayer) sums.add(1, 0, g);
  }
  sums.finish(group, place_of(0), norm.sums + part * kKinds * norm.pitch, norm.pitch);
}

// Inputs dy, x, gamma, [mean,] rstd; outputs dx, dgamma[, dbeta].
template <bool kLayer, class T>
class NormBackwardKernel : public Kernel {
 public:
  NormBackwardKernel(const NormShape& shape, DType dy, DType dgamma)
      : plan_(shape.rows, shape.columns, kWidth, 1),
        norm_{{nullptr, dy}, shape.norm.gamma, shape.norm.gamma_offset, nullptr, nullptr, nullptr, 0, nullptr},
        dgamma_(dgamma) {
    norm_.pitch = (shape.columns + 31) / 32 * 32;
    if (plan_.packs == 0) plan_ = RowPlan(shape.rows, shape.columns, kWidth, kMostPacks);
    held_ = dy == shape.x && choose_block();
    if (!held_) parts_ = static_cast<int>(std::min<int64_t>((shape.rows + 63) / 64, 64));
  }

  std::string path() const override { return held_ ? "held" : "long"; }
  size_t scratch_bytes() const override {
    return (static_cast<size_t>(parts_) * kKinds * norm_.pitch + (held_ ? 0 : plan_.rows)) * sizeof(float);
  }

  void run(const Call& call) override {
    if (plan_.columns == 0) return;
    NormGradient norm = norm_;
    norm.dy.data = call.in[0];
    norm.gamma.data = call.in[2];
    norm.mean = kLayer ? call.input<float>(3) : nullptr;
    norm.rstd = call.input<float>(kLayer ? 4 : 3);
    norm.sums = static_cast<float*>(call.scratch);
    norm.lost = norm.sums + parts_ * kKinds * norm.pitch;
    if (plan_.rows > 0) held_ ? run_held(call, norm) : run_long(call, norm);
    const int64_t blocks = (plan_.columns + 31) / 32 * kKinds;
    launch("norm_parts", add_parts<kKinds>, {dim3(static_cast<unsigned>(blocks)), dim3(32 * kPartLanes)}, norm.sums,
           parts_, norm.pitch, plan_.columns, dgamma_, call.out[1], kLayer ? call.out[2] : nullptr);
  }

 private:
  static constexpr int kWidth = kPackWidth<T>, kMostPacks = 4, kKinds = kLayer ? 2 : 1;
  template <int N>
  using Sums = ColumnSums<kKinds, N, kWidth>;
  static constexpr const char* kName = kLayer ? "layer_norm_backward" : "rms_norm_backward";

  // Blocks of about 512 threads, two of which fill a multiprocessor; false where no block is large enough.
  bool choose_block() {
    if (plan_.packs == 0 || plan_.group > (plan_.packs == 1 ? kHeldThreads<1> : kHeldThreads<kMostPacks>)) return false;
    plan_.threads = plan_.group < 32 ? 128 : std::max(plan_.group, 512 / plan_.group * plan_.group);
    const int64_t most = 264 * 512 / std::max(plan_.threads, 512) * (plan_.group < 32 ? 4 : 1);
    parts_ = static_cast<int>(std::min((plan_.rows + plan_.rows_of_block() - 1) / plan_.rows_of_block(), most));
    shared_bytes_ = Sums<1>::shared_bytes(plan_.threads) * plan_.packs;
    return shared_bytes_ + sizeof(GroupMemory) <= context().properties.sharedMemPerBlockOptin;
  }

  void run_held(const Call& call, const NormGradient& norm) const {
    const auto kernel = plan_.packs == 1 ? norm_gradient<kLayer, T, 1> : norm_gradient<kLayer, T, kMostPacks>;
    if (shared_bytes_ > 40000) allow_shared(kernel, shared_bytes_);
    launch(kName, kernel,
           {dim3(static_cast<unsigned>(parts_)), dim3(static_cast<unsigned>(plan_.threads)), shared_bytes_},
           call.input<T>(1), norm, call.output<T>(0), plan_);
  }

  void run_long(const Call& call, const NormGradient& norm) const {
    launch(kName, long_norm_gradient<kLayer, T>, plan_.shape(), call.input<T>(1), norm, call.output<T>(0), plan_);
    const int64_t across = (plan_.columns + 32 * kWidth - 1) / (32 * kWidth);
    launch("norm_parameter_sums", norm_parameter_sums<kLayer, T>,
           {dim3(static_cast<unsigned>(across), static_cast<unsigned>(parts_)), dim3(kSumThreads),
            Sums<1>::shared_bytes(kSumThreads)},
           call.input<T>(1), norm, plan_.rows, plan_.columns);
  }

  RowPlan plan_;
  NormGradient norm_;
  DType dgamma_;
  bool held_ = false;
  int parts_ = 0;
  size_t shared_bytes_ = 0;
};

template <bool kLayer>
std::unique_ptr<Kernel> prepare_norm_backward(const Node& node, std::string* why) {
  NormShape shape;
  if (!node.params.only({"zeroCenteredGamma"}, why) || !shape.read(node, 1, false, why)) return nullptr;
  const DType dy = node.inputs[0].dtype, dgamma = node.outputs[1].dtype;
  if (!is_row_type(dy) || !is_row_type(dgamma)) return *why = "gradients must be of float types", nullptr;
  if (node.outputs[0].dtype != shape.x) return *why = "dx has another dtype than x", nullptr;
  if (kLayer && node.outputs[2].dtype != dgamma) return *why = "dgamma and dbeta differ in dtype", nullptr;
  return with_row_type(shape.x, [&](auto zero) -> std::unique_ptr<Kernel> {
    return std::make_unique<NormBackwardKernel<kLayer, decltype(zero)>>(shape, dy, dgamma);
  });
}

}  // namespace te::cuda
