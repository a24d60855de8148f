// argmax, argmin (x){axis} -> int32 index of the first extreme along the axis; the first NaN wins.
#include "cuda/reduce/axes.cuh"
#include "cuda/registration.h"
#include "plan/axis.h"

namespace te::cuda::reduce {
namespace {

template <bool kLeast>
std::unique_ptr<Kernel> prepare_place(const Node& node, std::string* why) {
  if (!node.params.only({"axis"}, why)) return nullptr;
  const Aval& x = node.inputs[0];
  AroundAxis around;
  if (!around_axis(x.shape, node.params.integer("axis"), &around, why)) return nullptr;
  if (around.length == 0) return *why = "an axis without elements", nullptr;
  if (x.dtype == DType::float64) return *why = "float64", nullptr;
  return prepare_folding(node, Place{{x.dtype, kLeast}}, {node.params.integer("axis")}, why);
}

TE_CUDA_KERNEL(argmax, prepare_place<false>);
TE_CUDA_KERNEL(argmin, prepare_place<true>);

}  // namespace
}  // namespace te::cuda::reduce
