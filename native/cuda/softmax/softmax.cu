// softmax over the last axis, in float32. A row of -inf alone gives NaN, as its mathematics does.
#include "cuda/registration.h"
#include "cuda/softmax/softmax_row.cuh"

namespace te::cuda {
namespace {

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void softmax_rows(const T* x, T* y, const __grid_constant__ RowPlan plan) {
  __shared__ GroupMemory memory;
  constexpr int W = kPackWidth<T>;
  Group group(plan.group, memory);
  const Place<W> place(group, plan);
  const Row<T, N> row(x, place, kMinusInfinityBits<T>);
  const RowSum s = row_sum(row, group);
  const float factor = std::isinf(s.largest) ? NAN : 1.0f / s.sum;
  row.each([&](int column, const float(&v)[W]) {
    float e[W];
#pragma unroll
    for (int k = 0; k < W; ++k) e[k] = weight_exp<T>(v[k] - s.largest) * factor;
    put_numbers(y + place.start, place, column, e);
  });
}

template <class T>
class Softmax : public Kernel {
 public:
  Softmax(int64_t rows, int64_t columns) : plan_(rows, columns, kPackWidth<T>, kMostPacks) {}
  void run(const Call& call) override {
    if (plan_.rows == 0 || plan_.columns == 0) return;
    with_packs<kMostPacks>(plan_.packs, [&](auto packs) {
      launch("softmax", softmax_rows<T, packs()>, plan_.shape(), call.input<T>(0), call.output<T>(0), plan_);
    });
  }

 private:
  static constexpr int kMostPacks = 8;
  RowPlan plan_;
};

std::unique_ptr<Kernel> prepare_softmax(const Node& node, std::string* why) {
  int64_t rows, columns;
  if (!node.params.only({}, why) || !read_rows(node.inputs[0], &rows, &columns, why)) return nullptr;
  return with_row_type(node.inputs[0].dtype, [&](auto zero) -> std::unique_ptr<Kernel> {
    return std::make_unique<Softmax<decltype(zero)>>(rows, columns);
  });
}
TE_CUDA_KERNEL(softmax, prepare_softmax);

}  // namespace
}  // namespace te::cuda
