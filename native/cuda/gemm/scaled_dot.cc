// scaled_dot(a, b, aScaleInv, bScaleInv, [bias]) → y: the general product of float8 operands, multiplied by aScaleInv *
// bScaleInv, biased and rounded once. The scales stay on the GPU.
#include "cuda/gemm/product.h"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

class ScaledDot : public Kernel {
 public:
  explicit ScaledDot(std::unique_ptr<Product> product, bool biased) : product_(std::move(product)), biased_(biased) {}
  size_t scratch_bytes() const override { return product_->scratch_bytes(); }
  std::string path() const override { return product_->path(); }
  void run(const Call& call) override {
    product_->run({call.in[0], call.in[1], biased_ ? call.in[4] : nullptr, call.input<float>(2), call.input<float>(3),
                   call.out[0], call.scratch});
  }

 private:
  std::unique_ptr<Product> product_;
  bool biased_;
};

std::unique_ptr<Kernel> prepare_scaled_dot(const Node& node, std::string* why) {
  if (!node.params.only({"lhsContract", "rhsContract", "lhsBatch", "rhsBatch", "dtype"}, why)) return nullptr;
  ProductSpec spec;
  if (!dot_dims(node, &spec.dims, why)) return nullptr;
  const DType a = node.inputs[0].dtype, b = node.inputs[1].dtype;
  spec.result = node.outputs[0].dtype;
  spec.scaled = true;
  spec.biased = node.inputs.size() > 4 && node.inputs[4].present;
  if (spec.biased) spec.bias = node.inputs[4].dtype;
  if (!is_float8(a) || !is_float8(b) || !is_product_float(spec.result) || !is_product_float(spec.bias)) {
    *why = "operands other than float8_e4m3fn and float8_e5m2, or a result that is not float32, bfloat16 or float16";
    return nullptr;
  }
  if (a == DType::float8_e5m2 && b == DType::float8_e5m2) {
    *why = "illegal: float8_e5m2 times float8_e5m2";
    return nullptr;
  }
  for (size_t i : {2, 3}) {
    if (node.inputs[i].dtype != DType::float32 || node.inputs[i].size() != 1) {
      *why = "the inverse scales must be one float32 each";
      return nullptr;
    }
  }
  if (spec.biased && node.inputs[4].size() != spec.dims.n) {
    *why = "the bias must be as large as the free axes of b";
    return nullptr;
  }
  const bool biased = spec.biased;
  return std::make_unique<ScaledDot>(make_product(spec), biased);
}
TE_CUDA_KERNEL(scaled_dot, prepare_scaled_dot);

}  // namespace
}  // namespace te::cuda
