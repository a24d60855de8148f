// A norm whose float32 result goes to float8 directly. Inputs x, gamma, [beta,] scale; outputs q, amax, [mean,] rstd.
#pragma once
#include "cpu/fused_quantize.h"
#include "cpu/norm.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

template <bool kLayer>
class NormQuantizeKernel : public Kernel {
 public:
  explicit NormQuantizeKernel(const NormShape& shape) : forward_(shape) {}
  size_t scratch_bytes() const override {
    return padded_bytes(forward_.scratch_bytes()) + PartMaxima::bytes(forward_.parts);
  }

  void run(const Call& call) override {
    const NormShape& s = forward_.shape;
    const float scale = *call.input<float>(kLayer ? 3 : 2);
    const RowWriter writer(s.y, call.out[0], s.rows * s.width, true);
    const PartMaxima maxima(static_cast<char*>(call.scratch) + padded_bytes(forward_.scratch_bytes()), forward_.parts);
    forward_.template run<DType::float32>(
        call, writer, kLayer ? call.output<float>(2) : nullptr, call.output<float>(kLayer ? 3 : 2),
        [&](int64_t part, float* y, int64_t n) { scale_and_measure(y, n, scale, maxima.of(part)); });
    *call.output<float>(1) = maxima.all();
  }

 private:
  static size_t padded_bytes(size_t n) { return (n + 63) & ~size_t{63}; }
  NormForward<kLayer> forward_;
};

template <bool kLayer>
inline std::unique_ptr<Kernel> prepare_norm_quantize(const Node& node, std::string* why) {
  NormShape shape;
  if (!node.params.only({"epsilon", "zeroCenteredGamma", "dtype"}, why) || !shape.read(node, 0, kLayer, why))
    return nullptr;
  if (!is_float8(shape.y)) return decline(why, "q must be float8_e4m3fn or float8_e5m2");
  return std::make_unique<NormQuantizeKernel<kLayer>>(shape);
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
