// dot(a, b, [bias]) → y: the general product of jax.lax.dot_general; sums in float32 (32 bits for integers), the bias
// added along the trailing axes, one rounding.
#include "cuda/gemm/product.h"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

class Dot : public Kernel {
 public:
  explicit Dot(std::unique_ptr<Product> product, bool biased) : product_(std::move(product)), biased_(biased) {}
  size_t scratch_bytes() const override { return product_->scratch_bytes(); }
  std::string path() const override { return product_->path(); }
  void run(const Call& call) override {
    product_->run(
        {call.in[0], call.in[1], biased_ ? call.in[2] : nullptr, nullptr, nullptr, call.out[0], call.scratch});
  }

 private:
  std::unique_ptr<Product> product_;
  bool biased_;
};

// Integers are summed without a bias, and come out as words, or as bytes where they were bytes.
bool are_integers(const ProductSpec& spec) {
  const DType a = spec.dims.a.dtype, y = spec.result;
  const bool words = dtype_bytes(a) == 4;
  return is_product_integer(a) && a == spec.dims.b.dtype && !spec.biased &&
         (y == DType::int32 || y == DType::uint32 || (!words && y == DType::uint8));
}

std::unique_ptr<Kernel> prepare_dot(const Node& node, std::string* why) {
  if (!node.params.only({"lhsContract", "rhsContract", "lhsBatch", "rhsBatch", "dtype"}, why)) return nullptr;
  ProductSpec spec;
  if (!dot_dims(node, &spec.dims, why)) return nullptr;
  spec.result = node.outputs[0].dtype;
  spec.biased = node.inputs.size() > 2 && node.inputs[2].present;
  if (spec.biased) spec.bias = node.inputs[2].dtype;
  const bool floats =
      is_product_float(spec.dims.a.dtype) && is_product_float(spec.dims.b.dtype) && is_product_float(spec.result);
  if (!floats && !are_integers(spec)) {
    *why = "dtypes other than float32, bfloat16 and float16, or integers of one kind";
    return nullptr;
  }
  if (spec.biased && (!is_product_float(spec.bias) || node.inputs[2].size() != spec.dims.n)) {
    *why = "the bias must be a float as large as the free axes of b";
    return nullptr;
  }
  const bool biased = spec.biased;
  return std::make_unique<Dot>(make_product(spec), biased);
}
TE_CUDA_KERNEL(dot, prepare_dot);

}  // namespace
}  // namespace te::cuda
