// Products with what follows or goes with them, which passes make of chains:
//   dot_activation(a, b, [bias]) → y, [u]: u = the product, y = gelu or relu of it before it is rounded
//   dot_activation_backward(a, b, u) → du, [bias gradient]: the product times gelu'(u), and its sums over the rows
//   dot_bias_gradient(a, b) → y, s: the product, and the sums of one operand over what both are summed over
// The chain rounds u before the activation, and the product before it is multiplied: here each result is rounded once.
#include "cuda/gemm/cublaslt.h"
#include "cuda/gemm/product.h"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

class DotActivation : public Kernel {
 public:
  DotActivation(std::unique_ptr<Product> product, const ProductSpec& spec)
      : product_(std::move(product)), biased_(spec.biased), saves_(spec.saves) {}
  size_t scratch_bytes() const override { return product_->scratch_bytes(); }
  std::string path() const override { return product_->path(); }
  void run(const Call& call) override {
    product_->run({call.in[0], call.in[1], biased_ ? call.in[2] : nullptr, nullptr, nullptr, call.out[0], call.scratch,
                   saves_ ? call.out[1] : nullptr, nullptr});
  }

 private:
  std::unique_ptr<Product> product_;
  bool biased_, saves_;
};

class DotActivationBackward : public Kernel {
 public:
  DotActivationBackward(std::unique_ptr<Product> product, const ProductSpec& spec)
      : product_(std::move(product)), sums_(spec.bias_gradient) {}
  size_t scratch_bytes() const override { return product_->scratch_bytes(); }
  std::string path() const override { return product_->path(); }
  void run(const Call& call) override {
    product_->run({call.in[0], call.in[1], nullptr, nullptr, nullptr, call.out[0], call.scratch,
                   const_cast<void*>(call.in[2]), sums_ ? call.out[1] : nullptr});
  }

 private:
  std::unique_ptr<Product> product_;
  bool sums_;
};

class DotBiasGradient : public Kernel {
 public:
  DotBiasGradient(std::unique_ptr<Product> product, const ProductSpec&) : product_(std::move(product)) {}
  size_t scratch_bytes() const override { return product_->scratch_bytes(); }
  std::string path() const override { return product_->path(); }
  void run(const Call& call) override {
    product_->run({call.in[0], call.in[1], nullptr, nullptr, nullptr, call.out[0], call.scratch, nullptr, call.out[1]});
  }

 private:
  std::unique_ptr<Product> product_;
};

// The product, whose operands and results have one float dtype. `more`: its parameter besides those of dot.
bool read_product(const Node& node, const char* more, ProductSpec* spec, std::string* why) {
  if (!node.params.only({"lhsContract", "rhsContract", "lhsBatch", "rhsBatch", "dtype", more}, why) ||
      !dot_dims(node, &spec->dims, why))
    return false;
  spec->result = node.outputs[0].dtype;
  bool same = is_product_float(spec->result);
  for (const Aval& x : node.inputs) same = same && (!x.present || x.dtype == spec->result);
  for (const Aval& x : node.outputs) same = same && x.dtype == spec->result;
  if (!same) *why = "operands and results of several dtypes, or none that is float32, bfloat16 or float16";
  return same;
}

template <class Made>
std::unique_ptr<Kernel> make(const ProductSpec& spec, std::string* why) {
  if (!lt::library().reason.empty()) return *why = "products of our own have no such epilogue", nullptr;
  if (spec.dims.k == 0 || spec.dims.m * spec.dims.n == 0) return *why = "nothing is multiplied", nullptr;
  auto product = make_cublaslt_product(spec);
  if (!product) return *why = "cuBLASLt has no such epilogue for this product", nullptr;
  return std::make_unique<Made>(std::move(product), spec);
}

std::unique_ptr<Kernel> prepare_forward(const Node& node, std::string* why) {
  ProductSpec spec;
  if (!read_product(node, "activation", &spec, why)) return nullptr;
  const std::string activation = node.params.text("activation");
  spec.epilogue = activation == "gelu" ? Epilogue::gelu : activation == "relu" ? Epilogue::relu : Epilogue::none;
  spec.saves = node.outputs.size() > 1;
  spec.biased = node.inputs.size() > 2 && node.inputs[2].present;
  spec.bias = spec.result;
  const bool known = spec.epilogue == Epilogue::gelu || (spec.epilogue == Epilogue::relu && !spec.saves);
  if (!known) return *why = "an activation other than gelu, and relu that saves nothing", nullptr;
  if (spec.saves && node.outputs[1].size() != node.outputs[0].size()) return *why = "u must be as large as y", nullptr;
  if (spec.biased && node.inputs[2].size() != spec.dims.n)
    return *why = "the bias must be as large as the free axes of b", nullptr;
  return make<DotActivation>(spec, why);
}
TE_CUDA_KERNEL(dot_activation, prepare_forward);

std::unique_ptr<Kernel> prepare_backward(const Node& node, std::string* why) {
  ProductSpec spec;
  if (!read_product(node, "activation", &spec, why)) return nullptr;
  spec.epilogue = Epilogue::gelu_slope;
  spec.bias_gradient = node.outputs.size() > 1;
  if (node.params.text("activation") != "gelu") return *why = "the gradient of an activation other than gelu", nullptr;
  if (node.inputs.size() < 3 || node.inputs[2].size() != node.outputs[0].size())
    return *why = "u must be as large as du", nullptr;
  if (spec.bias_gradient && node.outputs[1].size() != spec.dims.n)
    return *why = "the bias gradient must be as large as the free axes of b", nullptr;
  return make<DotActivationBackward>(spec, why);
}
TE_CUDA_KERNEL(dot_activation_backward, prepare_backward);

std::unique_ptr<Kernel> prepare_bias_gradient(const Node& node, std::string* why) {
  ProductSpec spec;
  if (!read_product(node, "of", &spec, why)) return nullptr;
  const std::string of = node.params.text("of");
  if (of != "a" && of != "b") return *why = "the sums of an operand other than a and b", nullptr;
  spec.epilogue = of == "a" ? Epilogue::a_sums : Epilogue::b_sums;
  spec.bias_gradient = true;
  if (node.outputs.size() != 2 || node.outputs[1].size() != (of == "a" ? spec.dims.m : spec.dims.n))
    return *why = "the sums must be as large as the free axes of their operand", nullptr;
  return make<DotBiasGradient>(spec, why);
}
TE_CUDA_KERNEL(dot_bias_gradient, prepare_bias_gradient);

}  // namespace
}  // namespace te::cuda
