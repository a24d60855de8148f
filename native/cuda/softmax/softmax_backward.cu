// softmax_backward: dx = y * (dy - mean of dy under y) over the last axis. Dividing the mean by the sum of y, which is
// 1 but for the rounding of y, keeps that rounding from being amplified where dy - mean cancels.
#include "cuda/registration.h"
#include "cuda/softmax/softmax_row.cuh"

namespace te::cuda {
namespace {

template <class T, class D, int N>
__global__ __launch_bounds__(kRowThreads) void softmax_gradient(const T* y, const D* dy, T* dx,
                                                                const __grid_constant__ RowPlan plan) {
  __shared__ GroupMemory memory;
  constexpr int W = kPackWidth<T>;
  Group group(plan.group, memory);
  const Place<W> place(group, plan);
  const Row<T, N, W> weights(y, place);
  const Row<D, N, W> gradients(dy, place);
  Floats<2> sums{};
  each_of_two(weights, gradients, [&](int, int, const float(&v)[W], const float(&g)[W]) {
#pragma unroll
    for (int k = 0; k < W; ++k) {
      sums.item[0] += v[k] * g[k];
      sums.item[1] += v[k];
    }
  });
  sums = group.sum(sums);
  const float mean = sums.item[1] == 0 ? 0.0f : sums.item[0] / sums.item[1];
  each_of_two(weights, gradients, [&](int, int column, const float(&v)[W], const float(&g)[W]) {
    float result[W];
#pragma unroll
    for (int k = 0; k < W; ++k) result[k] = v[k] * (g[k] - mean);
    put_numbers(dx + place.start, place, column, result);
  });
}

// D: the dtype of dy. Rows are held where it is that of y.
template <class T, class D>
class SoftmaxBackward : public Kernel {
 public:
  SoftmaxBackward(int64_t rows, int64_t columns) : plan_(rows, columns, kPackWidth<T>, kMostPacks) {
    if (std::is_same_v<T, D>) return;
    plan_.packs = 0;
  }
  void run(const Call& call) override {
    if (plan_.rows == 0 || plan_.columns == 0) return;
    if constexpr (std::is_same_v<T, D>)
      with_packs<kMostPacks>(plan_.packs, [&](auto packs) { run_with<packs()>(call); });
    else
      run_with<0>(call);
  }

 private:
  static constexpr int kMostPacks = 4;
  template <int N>
  void run_with(const Call& call) const {
    launch("softmax_backward", softmax_gradient<T, D, N>, plan_.shape(), call.input<T>(0), call.input<D>(1),
           call.output<T>(0), plan_);
  }
  RowPlan plan_;
};

std::unique_ptr<Kernel> prepare_softmax_backward(const Node& node, std::string* why) {
  int64_t rows, columns;
  if (!node.params.only({}, why) || !read_rows(node.inputs[0], &rows, &columns, why)) return nullptr;
  if (!is_row_type(node.inputs[1].dtype)) return *why = "dy is not floating", nullptr;
  return with_row_type(node.inputs[0].dtype, [&](auto y) {
    return with_row_type(node.inputs[1].dtype, [&](auto dy) -> std::unique_ptr<Kernel> {
      return std::make_unique<SoftmaxBackward<decltype(y), decltype(dy)>>(rows, columns);
    });
  });
}
TE_CUDA_KERNEL(softmax_backward, prepare_softmax_backward);

}  // namespace
}  // namespace te::cuda
