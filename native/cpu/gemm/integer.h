// Products of integers with wrapping 32-bit sums: one row of A at a time against B as it lies in memory, whose columns
// or whose depth are contiguous.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "cpu/permute.h"
#include "plan/dot_dims.h"
#include "te/kernel.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline bool is_dot_integer(DType t) {
  return t == DType::int32 || t == DType::uint32 || t == DType::uint8 || t == DType::boolean;
}

template <class In, class Out>
class IntegerDot : public Kernel {
 public:
  explicit IntegerDot(DotDims dims) : dims_(std::move(dims)) {}

  size_t scratch_bytes() const override { return copy_bytes(dims_.a) + copy_bytes(dims_.b); }
  std::string path() const override { return dims_.b.outer_step == 1 ? "integers by columns" : "integers by depth"; }

  void run(const Call& call) override {
    char* scratch = static_cast<char*>(call.scratch);
    const In* a = operand(dims_.a, call.in[0], scratch);
    const In* b = operand(dims_.b, call.in[1], scratch + copy_bytes(dims_.a));
    Out* y = call.output<Out>(0);
    parallel_for(dims_.batches() * dims_.m, 16, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const In* left = a + offset(dims_.a, row / dims_.m) + row % dims_.m * dims_.a.outer_step;
        const In* right = b + offset(dims_.b, row / dims_.m);
        for (int64_t j = 0; j < dims_.n; j += kTile) {
          const int64_t columns = std::min(kTile, dims_.n - j);
          uint32_t sums[kTile] = {};
          for (int64_t k = 0; k < dims_.k; k += kTile)
            add(left + k * dims_.a.inner_step, right + j * dims_.b.outer_step + k * dims_.b.inner_step,
                std::min(kTile, dims_.k - k), columns, sums);
          for (int64_t i = 0; i < columns; ++i) y[row * dims_.n + j + i] = static_cast<Out>(sums[i]);
        }
      }
    });
  }

 private:
  static constexpr int64_t kTile = 256;

  // sums += a row of A times a tile of B.
  void add(const In* left, const In* right, int64_t depth, int64_t columns, uint32_t* sums) const {
    uint32_t row[kTile];
    for (int64_t k = 0; k < depth; ++k) row[k] = left[k * dims_.a.inner_step];
    if (dims_.b.outer_step == 1) {
      for (int64_t k = 0; k < depth; ++k, right += dims_.b.inner_step)
#pragma omp simd
        for (int64_t j = 0; j < columns; ++j) sums[j] += row[k] * static_cast<uint32_t>(right[j]);
      return;
    }
    for (int64_t j = 0; j < columns; ++j, right += dims_.b.outer_step) {
      uint32_t sum = 0;
#pragma omp simd reduction(+ : sum)
      for (int64_t k = 0; k < depth; ++k) sum += row[k] * static_cast<uint32_t>(right[k]);
      sums[j] += sum;
    }
  }

  static size_t copy_bytes(const DotOperand& x) {
    return x.copy ? (static_cast<size_t>(count(x.copy_shape)) * sizeof(In) + 63) / 64 * 64 : 0;
  }
  static const In* operand(const DotOperand& x, const void* data, char* scratch) {
    if (!x.copy) return static_cast<const In*>(data);
    Permutation(x.copy_shape, x.copy_perm, sizeof(In)).run(data, scratch);
    return reinterpret_cast<const In*>(scratch);
  }
  int64_t offset(const DotOperand& x, int64_t batch) const {
    int64_t at = 0;
    for (size_t i = dims_.batch.size(); i-- > 0; batch /= dims_.batch[i])
      at += batch % dims_.batch[i] * x.batch_steps[i];
    return at;
  }

  DotDims dims_;
};

inline std::unique_ptr<Kernel> prepare_integer_dot(const DotDims& dims, DType result, std::string* why) {
  const bool words = dims.a.dtype == DType::int32 || dims.a.dtype == DType::uint32;
  const bool wide = result == DType::int32 || result == DType::uint32;
  if (words && wide) return std::make_unique<IntegerDot<uint32_t, uint32_t>>(dims);
  if (!words && wide) return std::make_unique<IntegerDot<uint8_t, uint32_t>>(dims);
  if (!words && result == DType::uint8) return std::make_unique<IntegerDot<uint8_t, uint8_t>>(dims);
  *why = "integers to this dtype";
  return nullptr;
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
