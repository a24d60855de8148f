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
    const RowWriter writer(s.y, call.out[0], s.rows * s.width);
    const PartMaxima maxima(static_cast<char*>(call.scratch) + padded_bytes(forward_.scratch_bytes()), forward_.parts);
    with_float_type(s.x, [&](auto type) {
      with_float8(s.y, [&](auto code) {
        forward_.template run<type()>(
            call, writer, kLayer ? call.output<float>(2) : nullptr, call.output<float>(kLayer ? 3 : 2),
            [&](int64_t part, const auto& piece) { maxima.add(part, put<type(), code()>(piece, writer, scale)); });
      });
    });
    *call.output<float>(1) = maxima.all();
  }

 private:
  // Returns the bits of the largest magnitude.
  template <DType T, DType Q>
  static uint32_t put(const NormPiece<T>& p, const RowWriter& writer, float scale) {
    alignas(64) uint8_t buffer[kNormPiece];
    uint8_t* q = writer.at(p.first, buffer);
    const uint32_t largest = quantize<T, Q>(p, scale, q);
    if (!is_plain(largest, scale)) {
      alignas(64) float y[kNormPiece];
      normalize_row<kLayer, T, false>(p.x, p.n, p.row, p.gamma, p.beta, y, 0);
      quantize_carefully<T>(Q, y, p.n, scale, q);
    }
    writer.done(q, p.n, p.first);
    return largest;
  }

  // The codes of a step are computed beside the norm of the next: chains of dependent instructions are half as long.
  template <DType T, DType Q>
  [[gnu::noinline]] static uint32_t quantize(const NormPiece<T>& p, float scale, uint8_t* q) {
    return quantize_each<T, Q>(scale, q, [&](const auto& step) {
      LanePair last = {};
      int64_t place = 0;
      normalize_pairs<kLayer, T>(p.x, p.n, p.row, p.gamma, p.beta, [&](int64_t i, auto count, LanePair y) {
        if constexpr (std::is_same_v<decltype(count), WholePair>) {
          step(place, count, last);
          last = y;
          place = i;
        } else {
          step(i, count, y);
        }
      });
      if (p.n >= kPair) step(place, WholePair(), last);
    });
  }

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
