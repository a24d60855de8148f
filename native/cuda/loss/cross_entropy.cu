// cross_entropy(logits, labels): loss = log(sum) - (logits[label] - max) per row, with max the largest logit and sum
// that of exp(logits - max). One read of the logits.
#include "cuda/loss/labels.cuh"
#include "cuda/registration.h"
#include "cuda/softmax/softmax_row.cuh"

namespace te::cuda {
namespace {

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void cross_entropy_rows(const T* x, const int32_t* labels, float* loss,
                                                                  float* max, float* sum,
                                                                  const __grid_constant__ RowPlan plan, Report site) {
  __shared__ GroupMemory memory;
  Group group(plan.group, memory);
  const Place<kPackWidth<T>> place(group, plan);
  const RowSum s = row_sum(Row<T, N>(x, place, kMinusInfinityBits<T>), group);
  const int64_t row = group.row();
  if (group.rank() != 0 || row >= plan.rows) return;
  const int label = checked_label(labels, row, plan.columns, true, site);
  const float picked = label < 0 ? 0.0f : static_cast<float>(x[place.start + label]);
  loss[row] = logf(s.sum) - (picked - s.base());
  max[row] = std::isnan(s.sum) ? s.sum : s.largest;  // comparisons pass over NaN
  sum[row] = s.sum;
}

template <class T>
class CrossEntropy : public Kernel {
 public:
  CrossEntropy(int64_t rows, int64_t columns)
      : plan_(rows, columns, kPackWidth<T>, kMostPacks),
        site_([columns](int64_t position, int32_t label) { return unknown_label(position, label, columns); }) {}
  bool checks_values() const override { return true; }
  void run(const Call& call) override {
    if (plan_.rows == 0) return;
    with_packs<kMostPacks>(plan_.packs, [&](auto packs) {
      launch("cross_entropy", cross_entropy_rows<T, packs()>, plan_.shape(), call.input<T>(0), call.input<int32_t>(1),
             call.output<float>(0), call.output<float>(1), call.output<float>(2), plan_, site_.report());
    });
  }

 private:
  static constexpr int kMostPacks = 4;
  RowPlan plan_;
  Site site_;
};

std::unique_ptr<Kernel> prepare_cross_entropy(const Node& node, std::string* why) {
  int64_t rows, columns;
  if (!node.params.only({}, why) || !read_rows(node.inputs[0], &rows, &columns, why)) return nullptr;
  if (node.inputs[1].dtype != DType::int32) return *why = "labels are not int32", nullptr;
  return with_row_type(node.inputs[0].dtype, [&](auto zero) -> std::unique_ptr<Kernel> {
    return std::make_unique<CrossEntropy<decltype(zero)>>(rows, columns);
  });
}
TE_CUDA_KERNEL(cross_entropy, prepare_cross_entropy);

}  // namespace
}  // namespace te::cuda
