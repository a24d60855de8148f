// y, [mean,] rstd of a norm: see norm.cuh.
#pragma once
#include "cuda/norm/norm.cuh"

namespace te::cuda {

template <bool kLayer, class T, int N>
__global__ __launch_bounds__(kRowThreads) void norm_rows(const T* x, const __grid_constant__ Norm norm, T* y,
                                                         float* mean, float* rstd,
                                                         const __grid_constant__ RowPlan plan) {
  __shared__ GroupMemory memory;
  constexpr int W = kPackWidth<T>;
  Group group(plan.group, memory);
  norm_of_row<kLayer, T, N>(
      x, norm, mean, rstd, plan, group, group.row(),
      [&](const Place<W>& place, int column, const float(&v)[W]) { put_numbers(y + place.start, place, column, v); });
}

template <bool kLayer, class T>
class NormKernel : public Kernel {
 public:
  explicit NormKernel(const NormShape& shape)
      : plan_(shape.rows, shape.columns, kPackWidth<T>, kMostPacks), norm_(shape.norm) {}

  void run(const Call& call) override {
    if (plan_.rows == 0) return;
    Norm norm = norm_;
    norm.gamma.data = call.in[1];
    if (kLayer) norm.beta.data = call.in[2];
    float *mean = kLayer ? call.output<float>(1) : nullptr, *rstd = call.output<float>(kLayer ? 2 : 1);
    with_packs<kMostPacks>(plan_.packs, [&](auto packs) {
      launch(kLayer ? "layer_norm" : "rms_norm", norm_rows<kLayer, T, packs()>, plan_.shape(), call.input<T>(0), norm,
             call.output<T>(0), mean, rstd, plan_);
    });
  }

 private:
  static constexpr int kMostPacks = 4;
  RowPlan plan_;
  Norm norm_;
};

template <bool kLayer>
std::unique_ptr<Kernel> prepare_norm(const Node& node, std::string* why) {
  NormShape shape;
  if (!node.params.only({"epsilon", "zeroCenteredGamma"}, why) || !shape.read(node, 0, kLayer, why)) return nullptr;
  if (node.outputs[0].dtype != shape.x) return *why = "y has another dtype than x", nullptr;
  return with_row_type(shape.x, [&](auto zero) -> std::unique_ptr<Kernel> {
    return std::make_unique<NormKernel<kLayer, decltype(zero)>>(shape);
  });
}

}  // namespace te::cuda
