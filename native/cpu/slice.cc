// slice(x){start, limit, stride} and flip(x){axes} → y.
// te: once
#include "cpu/strided.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

std::unique_ptr<Kernel> prepare_slice(const Node& node, std::string* why) {
  if (!node.params.only({"start", "limit", "stride"}, why)) return nullptr;
  const Aval &x = node.inputs[0], &y = node.outputs[0];
  const std::vector<int64_t> start = node.params.integers("start"), step = node.params.integers("stride");
  std::vector<int64_t> strides = strides_of(x.shape);
  if (start.size() != strides.size() || step.size() != strides.size() || y.shape.size() != strides.size()) {
    *why = "start and stride need one entry per axis";
    return nullptr;
  }
  int64_t offset = 0;
  for (size_t i = 0; i < strides.size(); ++i) {
    const int64_t last = y.shape[i] > 0 ? start[i] + (y.shape[i] - 1) * step[i] : 0;
    if (start[i] < 0 || step[i] < 1 || (y.shape[i] > 0 && last >= x.shape[i])) {
      *why = "the slice leaves x";
      return nullptr;
    }
    offset += start[i] * strides[i];
    strides[i] *= step[i];
  }
  return std::make_unique<StridedKernel>(StridedCopy(y.shape, strides, strides_of(y.shape), dtype_bytes(x.dtype)),
                                         offset);
}

std::unique_ptr<Kernel> prepare_flip(const Node& node, std::string* why) {
  if (!node.params.only({"axes"}, why)) return nullptr;
  const Aval& x = node.inputs[0];
  std::vector<int64_t> strides = strides_of(x.shape);
  const std::vector<int64_t> out = strides;
  int64_t offset = 0;
  for (int64_t axis : node.params.integers("axes")) {
    if (axis < 0 || axis >= static_cast<int64_t>(strides.size())) {
      *why = "an axis that x does not have";
      return nullptr;
    }
    const size_t i = static_cast<size_t>(axis);
    if (x.shape[i] == 0) continue;
    offset += (x.shape[i] - 1) * strides[i];
    strides[i] = -strides[i];
  }
  return std::make_unique<StridedKernel>(StridedCopy(x.shape, strides, out, dtype_bytes(x.dtype)), offset);
}

}  // namespace
TE_KERNEL(slice, prepare_slice);
TE_KERNEL(flip, prepare_flip);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
