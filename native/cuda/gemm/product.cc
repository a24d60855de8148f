// Which way a product takes, and the one sentence where that is not cuBLASLt's.
#include "cuda/gemm/product.h"

#include <cstdio>

#include "cuda/gemm/cublaslt.h"

namespace te::cuda {
namespace {

void say_once_that_products_are_our_own() {
  static const bool said = [] {
    std::fprintf(stderr,
                 "te: %s. Products run on kernels of Transformer Engine, which are slower, and FP8 ones no faster than "
                 "those in bfloat16.\n",
                 lt::library().reason.c_str());
    return true;
  }();
  static_cast<void>(said);
}

}  // namespace

std::unique_ptr<Product> make_product(const ProductSpec& spec) {
  const DotDims& dims = spec.dims;
  // Of a product without depth only the bias is left; integers are too rare for a library.
  if (dims.k == 0 || dims.batches() * dims.m * dims.n == 0 || is_product_integer(dims.a.dtype))
    return make_plain_product(spec);
  if (lt::library().reason.empty()) {
    if (auto product = make_cublaslt_product(spec)) return product;
  } else {
    say_once_that_products_are_our_own();
  }
  if (auto product = make_tile_product(spec)) return product;
  return make_plain_product(spec);
}

}  // namespace te::cuda
