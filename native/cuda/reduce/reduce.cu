// reduce_sum, reduce_prod, reduce_max, reduce_min (x){axes, keepDims} -> y of x's dtype, rounded once.
#include "cuda/reduce/axes.cuh"
#include "cuda/registration.h"

namespace te::cuda::reduce {
namespace {

bool takes(const Node& node, std::string* why) {
  if (!node.params.only({"axes", "keepDims"}, why)) return false;
  if (node.inputs[0].dtype == DType::float64 || node.outputs[0].dtype != node.inputs[0].dtype)
    return *why = "a dtype that the kernel does not take", false;
  return true;
}

template <bool kProduct>
std::unique_ptr<Kernel> prepare_total(const Node& node, std::string* why) {
  if (!takes(node, why)) return nullptr;
  const DType dtype = node.inputs[0].dtype;
  const std::vector<int64_t> axes = node.params.integers("axes");
  if (!kProduct && dtype == DType::float32 && axes.size() == node.inputs[0].shape.size())
    return *why = "square_sum.cu adds up whole tensors", nullptr;
  if (!is_float_code(dtype)) return prepare_folding(node, Integers{kProduct}, axes, why);
  if constexpr (kProduct)
    return prepare_folding(node, Product{dtype}, axes, why);
  else
    return prepare_folding(node, Sum{dtype}, axes, why);
}

template <bool kLeast>
std::unique_ptr<Kernel> prepare_extreme(const Node& node, std::string* why) {
  if (!takes(node, why)) return nullptr;
  return prepare_folding(node, Extreme{{node.inputs[0].dtype, kLeast}}, node.params.integers("axes"), why);
}

TE_CUDA_KERNEL(reduce_sum, prepare_total<false>);
TE_CUDA_KERNEL(reduce_prod, prepare_total<true>);
TE_CUDA_KERNEL(reduce_max, prepare_extreme<false>);
TE_CUDA_KERNEL(reduce_min, prepare_extreme<true>);

}  // namespace
}  // namespace te::cuda::reduce
