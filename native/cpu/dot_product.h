// A product of floats of any axes, compiled once per instruction set.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "cpu/dot_dims.h"
#include "te/dtype.h"

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {

// Memory of one run of a product.
struct ProductCall {
  const void *a, *b, *bias;
  float scale;
  char* result;
  char* scratch;
};

// What follows the sums: result = round(sums * scale + bias).
struct ProductFinish {
  DType result = DType::float32;
  bool scaled = false, biased = false;
  DType bias = DType::float32;
};

class Product {
 public:
  virtual ~Product() = default;
  virtual size_t scratch_bytes() const = 0;
  virtual std::string path() const = 0;  // see Kernel::path
  virtual void run(ProductCall call) const = 0;
};

namespace TE_ISA_NAMESPACE {
std::unique_ptr<Product> make_product(DotDims dims, const ProductFinish& finish);
}

}  // namespace te
