// slice(x){start, limit, stride}, flip(x){axes} and broadcast_to(x){shape} → y.
// te: once
#include "cpu/strided.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

template <bool (*read)(const Node&, StridedMove*, std::string*)>
std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  StridedMove move;
  if (!read(node, &move, why)) return nullptr;
  return std::make_unique<StridedKernel>(StridedCopy(move, dtype_bytes(node.inputs[0].dtype)), move.from);
}

}  // namespace
TE_KERNEL(slice, prepare<read_slice>);
TE_KERNEL(flip, prepare<read_flip>);
TE_KERNEL(broadcast_to, prepare<read_broadcast>);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
