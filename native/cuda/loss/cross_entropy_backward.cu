// cross_entropy_backward: dlogits = (exp(logits - max) / sum - onehot(label)) * dloss per row. One read of the logits,
// which dlogits may replace.
#include "cuda/loss/labels.cuh"
#include "cuda/registration.h"
#include "cuda/softmax/softmax_row.cuh"

namespace te::cuda {
namespace {

// Of every row.
struct LossRows {
  const int32_t* labels;
  const float *max, *sum, *dloss;
};

template <class T, int N>
__global__ __launch_bounds__(kRowThreads) void cross_entropy_gradient(const T* x, const LossRows rows, T* dx,
                                                                      const __grid_constant__ RowPlan plan,
                                                                      Report site) {
  __shared__ GroupMemory memory;
  constexpr int W = kPackWidth<T>;
  const Group group(plan.group, memory);
  const int64_t row = group.row();
  if (row >= plan.rows) return;
  const Place<W> place(group, plan);
  const Row<T, N> logits(x, place);
  const int label = checked_label(rows.labels, row, plan.columns, group.rank() == 0, site);
  const float max = rows.max[row], share = rows.dloss[row] / rows.sum[row];
  logits.each([&](int column, const float(&v)[W]) {
    float d[W];
#pragma unroll
    for (int k = 0; k < W; ++k) d[k] = weight_exp<T>(v[k] - max) * share;
    if (label >= column && label < column + W) {
      const float dloss = rows.dloss[row];  // read again: a register less for all others
#pragma unroll
      for (int k = 0; k < W; ++k) d[k] -= label == column + k ? dloss : 0.0f;
    }
    put_numbers(dx + place.start, place, column, d);
  });
}

template <class T>
class CrossEntropyBackward : public Kernel {
 public:
  CrossEntropyBackward(int64_t rows, int64_t columns)
      : plan_(rows, columns, kPackWidth<T>, kMostPacks),
        site_([columns](int64_t position, int32_t label) { return unknown_label(position, label, columns); }) {}
  bool checks_values() const override { return true; }
  void run(const Call& call) override {
    if (plan_.rows == 0) return;
    const LossRows rows{call.input<int32_t>(1), call.input<float>(2), call.input<float>(3), call.input<float>(4)};
    with_packs<kMostPacks>(plan_.packs, [&](auto packs) {
      launch("cross_entropy_backward", cross_entropy_gradient<T, packs()>, plan_.shape(), call.input<T>(0), rows,
             call.output<T>(0), plan_, site_.report());
    });
  }

 private:
  static constexpr int kMostPacks = 4;
  RowPlan plan_;
  Site site_;
};

std::unique_ptr<Kernel> prepare_cross_entropy_backward(const Node& node, std::string* why) {
  int64_t rows, columns;
  if (!node.params.only({}, why) || !read_rows(node.inputs[0], &rows, &columns, why)) return nullptr;
  if (node.inputs[1].dtype != DType::int32) return *why = "labels are not int32", nullptr;
  return with_row_type(node.inputs[0].dtype, [&](auto zero) -> std::unique_ptr<Kernel> {
    return std::make_unique<CrossEntropyBackward<decltype(zero)>>(rows, columns);
  });
}
TE_CUDA_KERNEL(cross_entropy_backward, prepare_cross_entropy_backward);

}  // namespace
}  // namespace te::cuda
