// scaled_dot(a, b, aScaleInv, bScaleInv, [bias]) → y: the general product of float8 operands. The codes are decoded
// exactly, summed in float32, multiplied by aScaleInv * bScaleInv, biased and rounded once.
#include <string>

#include "cpu/gemm/gemm.h"
#include "te/kernel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class ScaledDot : public Kernel {
 public:
  ScaledDot(DotDims dims, const EpilogueSpec& epilogue)
      : biased_(epilogue.biased), product_(make_gemm(std::move(dims), epilogue)) {}
  size_t scratch_bytes() const override { return product_->scratch_bytes(); }
  std::string path() const override { return product_->path(); }
  void run(const Call& call) override {
    const float scale = *call.input<float>(2) * *call.input<float>(3);
    const void* bias = biased_ ? call.in[4] : nullptr;
    product_->run(
        {call.in[0], call.in[1], bias, scale, static_cast<char*>(call.out[0]), static_cast<char*>(call.scratch)});
  }

 private:
  bool biased_;
  std::unique_ptr<Gemm> product_;
};

std::unique_ptr<Kernel> prepare_scaled_dot(const Node& node, std::string* why) {
  if (!node.params.only({"lhsContract", "rhsContract", "lhsBatch", "rhsBatch", "dtype"}, why)) return nullptr;
  DotDims dims;
  EpilogueSpec epilogue;
  if (!dot_dims(node, &dims, why)) return nullptr;
  const DType a = node.inputs[0].dtype, b = node.inputs[1].dtype;
  epilogue.result = node.outputs[0].dtype;
  epilogue.scaled = true;
  epilogue.biased = node.inputs.size() > 4 && node.inputs[4].present;
  if (epilogue.biased) epilogue.bias = node.inputs[4].dtype;
  const auto is_float = [](DType t) { return t == DType::float32 || t == DType::bfloat16 || t == DType::float16; };
  if (!is_float8(a) || !is_float8(b) || !is_float(epilogue.result) || !is_float(epilogue.bias)) {
    *why = "operands other than float8_e4m3fn and float8_e5m2, or a result that is not float32, bfloat16 or float16";
    return nullptr;
  }
  if (a == DType::float8_e5m2 && b == DType::float8_e5m2) {
    *why = "illegal: float8_e5m2 times float8_e5m2";
    return nullptr;
  }
  for (int i : {2, 3}) {
    if (node.inputs[i].dtype != DType::float32 || node.inputs[i].size() != 1) {
      *why = "the inverse scales must be one float32 each";
      return nullptr;
    }
  }
  if (epilogue.biased && node.inputs[4].size() != dims.n) {
    *why = "the bias must be as large as the free axes of b";
    return nullptr;
  }
  return std::make_unique<ScaledDot>(std::move(dims), epilogue);
}

}  // namespace
TE_KERNEL(scaled_dot, prepare_scaled_dot);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
