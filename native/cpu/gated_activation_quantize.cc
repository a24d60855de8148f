// gated_activation_quantize(u [..., A, F], scale) -> q [..., F] in float8, amax.
#include "cpu/fused_quantize.h"
#include "cpu/gated.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class GatedActivationQuantize : public Kernel {
 public:
  GatedActivationQuantize(const GatedShape& shape, DType q) : shape_(shape), q_(q), parts_(shape.parts()) {}
  size_t scratch_bytes() const override { return PartMaxima::bytes(parts_); }

  void run(const Call& call) override {
    const float scale = *call.input<float>(1);
    const RowWriter writer(q_, call.out[0], shape_.rows * shape_.width);
    const PartMaxima maxima(call.scratch, parts_);
    for_parts(shape_.pieces(), parts_, [&](int64_t part, int64_t begin, int64_t end) {
      with_float_type(shape_.u,
                      [&](auto type) { maxima.add(part, run_part<type()>(call, writer, scale, begin, end)); });
    });
    *call.output<float>(1) = maxima.all();
  }

 private:
  // Returns the bits of the largest magnitude.
  template <DType T>
  uint32_t run_part(const Call& call, const RowWriter& writer, float scale, int64_t begin, int64_t end) const {
    alignas(64) float y[kGatedPiece];
    alignas(64) uint8_t buffer[kGatedPiece];
    uint32_t amax = 0;
    gated_forward<T, DType::float32>(
        shape_, call.in[0], writer, begin, end,
        [&](auto act, const auto* x, const float* before, const GatedPiece& piece) {
          value_row<act(), T, DType::float32, false>(x, piece.n, before, shape_.limits, y, 0);
          uint8_t* q = writer.at(piece.in_y, buffer);
          amax = std::max(
              amax, with_float8(q_, [&](auto code) { return quantize_ordered<T, code()>(y, piece.n, scale, q); }));
          writer.done(q, piece.n, piece.in_y);
        });
    return amax;
  }

  GatedShape shape_;
  DType q_;
  int64_t parts_;
};

std::unique_ptr<Kernel> prepare_gated_activation_quantize(const Node& node, std::string* why) {
  GatedShape shape;
  if (!node.params.only({"activations", "limit", "alpha", "offset", "dtype"}, why) || !read_gated(node, 0, &shape, why))
    return nullptr;
  const DType q = node.outputs[0].dtype;
  if (!is_float8(q)) return decline(why, "q must be float8_e4m3fn or float8_e5m2");
  return std::make_unique<GatedActivationQuantize>(shape, q);
}

TE_KERNEL(gated_activation_quantize, prepare_gated_activation_quantize);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
