// A norm whose float32 result goes to float8 directly: q, amax, [mean,] rstd. See norm.cuh and quantize/float8.cuh.
#pragma once
#include "cuda/norm/norm.cuh"
#include "cuda/quantize/float8.cuh"

namespace te::cuda {

template <bool kLayer, class T, int N, DType Q>
__global__ __launch_bounds__(kRowThreads, 1) void norm_codes(const T* x, const __grid_constant__ Norm norm,
                                                             const float* scale_at, uint8_t* q, float* amax,
                                                             float* mean, float* rstd,
                                                             const __grid_constant__ RowPlan plan, Gathering* blocks) {
  __shared__ GroupMemory memory;
  constexpr int W = kPackWidth<T>;
  const float scale = *scale_at;
  uint32_t most = 0;
  Group group(plan.group, memory);
  norm_of_row<kLayer, T, N>(
      x, norm, mean, rstd, plan, group, group.row(), [&](const Place<W>& place, int column, const float(&y)[W]) {
        Pack<uint8_t, W> codes;
#pragma unroll
        for (int k = 0; k < W; ++k)
          if (place.has(column + k)) most = larger_magnitude(most, y[k]);
#pragma unroll
        for (int k = 0; k < W; k += 4)
          codes.word[k / 4] = float8_codes<Q>(y[k] * scale, y[k + 1] * scale, y[k + 2] * scale, y[k + 3] * scale);
        put_pack(q + place.start, place, column, codes);
      });
  gather_maximum(most, blocks, amax);
}

template <bool kLayer, class T, DType Q>
class NormQuantizeKernel : public Kernel {
 public:
  explicit NormQuantizeKernel(const NormShape& shape)
      : plan_(shape.rows, shape.columns, kPackWidth<T>, kMostPacks), norm_(shape.norm) {}

  void run(const Call& call) override {
    Norm norm = norm_;
    norm.gamma.data = call.in[1];
    if (kLayer) norm.beta.data = call.in[2];
    Launch shape = plan_.shape();
    if (plan_.rows == 0) shape.grid.x = 1;  // amax is 0
    with_packs<kMostPacks>(plan_.packs, [&](auto packs) {
      launch(kLayer ? "layer_norm_quantize" : "rms_norm_quantize", norm_codes<kLayer, T, packs(), Q>, shape,
             call.input<T>(0), norm, call.input<float>(kLayer ? 3 : 2), call.output<uint8_t>(0), call.output<float>(1),
             kLayer ? call.output<float>(2) : nullptr, call.output<float>(kLayer ? 3 : 2), plan_, context().gathering);
    });
  }

 private:
  static constexpr int kMostPacks = 4;
  RowPlan plan_;
  Norm norm_;
};

template <bool kLayer>
std::unique_ptr<Kernel> prepare_norm_quantize(const Node& node, std::string* why) {
  NormShape shape;
  if (!node.params.only({"epsilon", "zeroCenteredGamma", "dtype"}, why) || !shape.read(node, 0, kLayer, why))
    return nullptr;
  const DType q = node.outputs[0].dtype;
  if (!is_float8(q)) return *why = "q must be float8_e4m3fn or float8_e5m2", nullptr;
  return with_row_type(shape.x, [&](auto zero) -> std::unique_ptr<Kernel> {
    using T = decltype(zero);
    if (q == DType::float8_e4m3fn) return std::make_unique<NormQuantizeKernel<kLayer, T, DType::float8_e4m3fn>>(shape);
    return std::make_unique<NormQuantizeKernel<kLayer, T, DType::float8_e5m2>>(shape);
  });
}

}  // namespace te::cuda
