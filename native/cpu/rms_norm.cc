// rms_norm(x, gamma) -> y, rstd and its backward. See norm.h for the formulas.
#include "cpu/norm_backward.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

std::unique_ptr<Kernel> prepare_rms_norm(const Node& node, std::string* why) {
  NormShape shape;
  if (!node.params.only({"epsilon", "zeroCenteredGamma"}, why) || !shape.read(node, 0, false, why)) return nullptr;
  if (!is_float(shape.y)) return decline(why, "y must be a float type");
  return std::make_unique<NormKernel<false>>(shape);
}

std::unique_ptr<Kernel> prepare_rms_norm_backward(const Node& node, std::string* why) {
  NormShape shape;
  if (!node.params.only({"zeroCenteredGamma"}, why) || !shape.read(node, 1, false, why)) return nullptr;
  return prepare_norm_backward<false>(node, shape, why);
}

TE_KERNEL(rms_norm, prepare_rms_norm);
TE_KERNEL(rms_norm_backward, prepare_rms_norm_backward);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
