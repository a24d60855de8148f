// broadcast_to(x){shape} → y, by NumPy's rule.
// te: once
#include "cpu/strided.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

std::unique_ptr<Kernel> prepare_broadcast(const Node& node, std::string* why) {
  if (!node.params.only({"shape"}, why)) return nullptr;
  const Aval &x = node.inputs[0], &y = node.outputs[0];
  const std::vector<int64_t> own = strides_of(x.shape);
  if (x.shape.size() > y.shape.size()) {
    *why = "y has fewer axes than x";
    return nullptr;
  }
  const size_t lead = y.shape.size() - x.shape.size();
  std::vector<int64_t> strides(y.shape.size(), 0);
  for (size_t i = 0; i < own.size(); ++i) {
    if (x.shape[i] == y.shape[lead + i]) {
      strides[lead + i] = x.shape[i] == 1 ? 0 : own[i];
    } else if (x.shape[i] != 1) {
      *why = "the shapes do not broadcast";
      return nullptr;
    }
  }
  return std::make_unique<StridedKernel>(StridedCopy(y.shape, strides, strides_of(y.shape), dtype_bytes(x.dtype)), 0);
}

}  // namespace
TE_KERNEL(broadcast_to, prepare_broadcast);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
