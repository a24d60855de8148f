// The epilogue of a product: scale, bias, and the one rounding.
#pragma once
#include <cstdint>

#include "cpu/gemm/gemm.h"
#include "cpu/simd/convert.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

struct Epilogue : EpilogueSpec {
  bool nothing() const { return !scaled && !biased; }
  int64_t result_bytes() const { return static_cast<int64_t>(dtype_bytes(result)); }

  // `n` numbers of the bias from `first` on, as float32.
  void load_bias(const void* from, int64_t first, int64_t n, float* to) const {
    if (biased) load_row(bias, static_cast<const char*>(from) + first * static_cast<int64_t>(dtype_bytes(bias)), n, to);
  }

  // sums = sums * scale + bias, where one bias serves all `n` sums if `same`.
  void apply(float* sums, int64_t n, float scale, const float* bias_row, bool same) const {
    float* __restrict x = sums;
    const float* __restrict add = bias_row;
    if (biased && same) {
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) x[j] = x[j] * scale + add[0];
    } else if (biased) {
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) x[j] = x[j] * scale + add[j];
    } else if (scaled) {
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) x[j] *= scale;
    }
  }
};

// Where parts of the scratch memory of one thread begin.
class Layout {
 public:
  int64_t take(int64_t bytes) {
    const int64_t from = end_;
    end_ += (bytes + 63) / 64 * 64;
    return from;
  }
  int64_t end() const { return end_; }

 private:
  int64_t end_ = 0;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
