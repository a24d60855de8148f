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
    const RowWriter writer(q_, call.out[0], shape_.rows * shape_.width, true);
    const PartMaxima maxima(call.scratch, parts_);
    for_parts(shape_.pieces(), parts_, [&](int64_t part, int64_t begin, int64_t end) {
      gated_forward<DType::float32>(shape_, call.in[0], writer, begin, end,
                                    [&](float* y, int64_t n) { scale_and_measure(y, n, scale, maxima.of(part)); });
    });
    *call.output<float>(1) = maxima.all();
  }

 private:
  GatedShape shape_;
  DType q_;
  int64_t parts_;
};

std::unique_ptr<Kernel> prepare_gated_activation_quantize(const Node& node, std::string* why) {
  GatedShape shape;
  if (!node.params.only({"activations", "limit", "alpha", "offset", "dtype"}, why) || !shape.read(node, 0, why))
    return nullptr;
  const DType q = node.outputs[0].dtype;
  if (!is_float8(q)) return decline(why, "q must be float8_e4m3fn or float8_e5m2");
  return std::make_unique<GatedActivationQuantize>(shape, q);
}

TE_KERNEL(gated_activation_quantize, prepare_gated_activation_quantize);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
