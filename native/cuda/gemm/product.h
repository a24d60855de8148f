// A general product on the GPU: y = round(a b * (a_scale * b_scale) + bias), sums in float32, or in 32 bits for
// integers. It runs on cuBLASLt where that can do it, and on kernels of our own elsewhere.
#pragma once
#include <memory>
#include <string>

#include "plan/dot_dims.h"

namespace te::cuda {

// What happens to a sum, scaled and biased, before it is rounded to y. Nothing is rounded between: the value of an
// activation is that of the unrounded sum. Only the products of cuBLASLt do it.
enum class Epilogue : uint8_t {
  none,
  gelu,        // y = gelu(sum), and where the spec saves, aux = the rounded sum
  relu,        // y = max(sum, 0)
  gelu_slope,  // y = sum * gelu'(aux), and where there is a bias gradient, the sums of the unrounded y over its rows
  a_sums,      // y = sum, and a bias gradient: the sums of a over the depth
  b_sums       // the same of b
};

struct ProductSpec {
  DotDims dims;
  DType result = DType::float32;
  bool scaled = false, biased = false;
  DType bias = DType::float32;
  Epilogue epilogue = Epilogue::none;
  bool saves = false, bias_gradient = false;  // aux and the bias gradient have the dtype of the result
  bool reads_aux() const { return epilogue == Epilogue::gelu_slope; }
  bool has_aux() const { return saves || reads_aux(); }
};

// Memory of one run; `bias` and the scales are there where the spec says so.
struct ProductCall {
  const void *a, *b, *bias;
  const float *a_scale, *b_scale;
  void* y;
  void* scratch;
  void *aux = nullptr, *bias_gradient = nullptr;
};

class Product {
 public:
  virtual ~Product() = default;
  virtual size_t scratch_bytes() const = 0;
  virtual std::string path() const = 0;  // see Kernel::path
  virtual void run(const ProductCall& call) = 0;
};

// Of a spec without an epilogue: there always is a way.
std::unique_ptr<Product> make_product(const ProductSpec& spec);

// The ways of make_product. The first two give nullptr where they cannot.
std::unique_ptr<Product> make_cublaslt_product(const ProductSpec& spec);  // cublaslt_product.cc
std::unique_ptr<Product> make_tile_product(const ProductSpec& spec);      // tile_product.cu: on tensor cores
std::unique_ptr<Product> make_plain_product(const ProductSpec& spec);  // plain_product.cu: float32, integers, no depth

inline bool is_product_float(DType t) { return t == DType::float32 || t == DType::bfloat16 || t == DType::float16; }
inline bool is_product_integer(DType t) {
  return t == DType::int32 || t == DType::uint32 || t == DType::uint8 || t == DType::boolean;
}

}  // namespace te::cuda
