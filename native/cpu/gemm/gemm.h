// A product of floats of any axes, compiled once per instruction set.
#pragma once
#include <cstddef>
#include <memory>
#include <string>

#include "plan/dot_dims.h"
#include "te/dtype.h"

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {

// Memory of one run of a product.
struct GemmCall {
  const void *a, *b, *bias;
  float scale;
  char* result;
  char* scratch;
};

// The epilogue: result = round(sums * scale + bias).
struct EpilogueSpec {
  DType result = DType::float32;
  bool scaled = false, biased = false;
  DType bias = DType::float32;
};

class Gemm {
 public:
  virtual ~Gemm() = default;
  virtual size_t scratch_bytes() const = 0;
  virtual std::string path() const = 0;  // see Kernel::path
  virtual void run(GemmCall call) const = 0;
};

namespace TE_ISA_NAMESPACE {
std::unique_ptr<Gemm> make_gemm(DotDims dims, const EpilogueSpec& epilogue);
}

}  // namespace te
