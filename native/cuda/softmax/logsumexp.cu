// logsumexp: log(sum(exp(x))) over the last axis, which disappears.
#include "cuda/registration.h"
#include "cuda/softmax/softmax_row.cuh"

namespace te::cuda {
namespace {

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void logsumexp_rows(const T* x, T* y, const __grid_constant__ RowPlan plan) {
  __shared__ GroupMemory memory;
  Group group(plan.group, memory);
  const Place<kPackWidth<T>> place(group, plan);
  const RowSum s = row_sum(Row<T, N>(x, place, kMinusInfinityBits<T>), group);
  if (group.rank() == 0 && group.row() < plan.rows) y[group.row()] = static_cast<T>(s.base() + logf(s.sum));
}

template <class T>
class LogSumExp : public Kernel {
 public:
  LogSumExp(int64_t rows, int64_t columns) : plan_(rows, columns, kPackWidth<T>, kMostPacks) {}
  void run(const Call& call) override {
    if (plan_.rows == 0) return;  // rows of no elements give -inf
    with_packs<kMostPacks>(plan_.packs, [&](auto packs) {
      launch("logsumexp", logsumexp_rows<T, packs()>, plan_.shape(), call.input<T>(0), call.output<T>(0), plan_);
    });
  }

 private:
  static constexpr int kMostPacks = 4;
  RowPlan plan_;
};

std::unique_ptr<Kernel> prepare_logsumexp(const Node& node, std::string* why) {
  int64_t rows, columns;
  if (!node.params.only({}, why) || !read_rows(node.inputs[0], &rows, &columns, why)) return nullptr;
  return with_row_type(node.inputs[0].dtype, [&](auto zero) -> std::unique_ptr<Kernel> {
    return std::make_unique<LogSumExp<decltype(zero)>>(rows, columns);
  });
}
TE_CUDA_KERNEL(logsumexp, prepare_logsumexp);

}  // namespace
}  // namespace te::cuda
