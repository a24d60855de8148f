// dot(a, b, [bias]) → y: the general product of jax.lax.dot_general; sums in float32 (int32 for integers), the bias
// added along the trailing axes, one rounding.
#include <string>

#include "cpu/gemm/gemm.h"
#include "cpu/gemm/integer.h"
#include "te/kernel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Dot : public Kernel {
 public:
  Dot(DotDims dims, const EpilogueSpec& epilogue)
      : biased_(epilogue.biased), product_(make_gemm(std::move(dims), epilogue)) {}
  size_t scratch_bytes() const override { return product_->scratch_bytes(); }
  std::string path() const override { return product_->path(); }
  void run(const Call& call) override {
    const void* bias = biased_ ? call.in[2] : nullptr;
    product_->run(
        {call.in[0], call.in[1], bias, 1.0f, static_cast<char*>(call.out[0]), static_cast<char*>(call.scratch)});
  }

 private:
  bool biased_;
  std::unique_ptr<Gemm> product_;
};

bool is_half_or_single(DType t) { return t == DType::float32 || t == DType::bfloat16 || t == DType::float16; }

std::unique_ptr<Kernel> prepare_dot(const Node& node, std::string* why) {
  if (!node.params.only({"lhsContract", "rhsContract", "lhsBatch", "rhsBatch", "dtype"}, why)) return nullptr;
  DotDims dims;
  EpilogueSpec epilogue;
  if (!dot_dims(node, &dims, why)) return nullptr;
  epilogue.result = node.outputs[0].dtype;
  epilogue.biased = node.inputs.size() > 2 && node.inputs[2].present;
  if (is_dot_integer(dims.a.dtype) && dims.a.dtype == dims.b.dtype && !epilogue.biased)
    return prepare_integer_dot(dims, epilogue.result, why);
  if (!is_half_or_single(dims.a.dtype) || !is_half_or_single(dims.b.dtype) || !is_half_or_single(epilogue.result)) {
    *why = "dtypes other than float32, bfloat16 and float16, or integers of one kind";
    return nullptr;
  }
  if (epilogue.biased) {
    epilogue.bias = node.inputs[2].dtype;
    if (!is_half_or_single(epilogue.bias) || node.inputs[2].size() != dims.n) {
      *why = "the bias must be a float as large as the free axes of b";
      return nullptr;
    }
  }
  return std::make_unique<Dot>(std::move(dims), epilogue);
}

}  // namespace
TE_KERNEL(dot, prepare_dot);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
