// cumsum(x){axis, reverse, exclusive} → y. Floats accumulate in double and are rounded once; integers wrap around.
#include <algorithm>

#include "cpu/index.h"
#include "cpu/rows.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Cumsum : public Kernel {
 public:
  Cumsum(const AroundAxis& x, DType dtype, bool reverse, bool exclusive)
      : x_(x), dtype_(dtype), reverse_(reverse), exclusive_(exclusive) {}

  void run(const Call& call) override {
    if (x_.length == 0) return;  // maybe of many rows
    if (dtype_ == DType::int32 || dtype_ == DType::uint32) return run_integers<uint32_t>(call);
    if (dtype_ == DType::uint8) return run_integers<uint8_t>(call);
    const int64_t tiles = (x_.inner + kTile - 1) / kTile, width = std::min(x_.inner, kTile);
    parallel_for(x_.outer * tiles, 8192 / std::max<int64_t>(1, x_.length * width) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        const int64_t first = task / tiles * x_.length * x_.inner, column = task % tiles * kTile;
        if (x_.inner == 1) {
          sum_row(call, first);
        } else {
          sum_columns(call, first + column, std::min(kTile, x_.inner - column));
        }
      }
    });
  }

 private:
  static constexpr int64_t kTile = 512;

  // Along contiguous memory: pieces in the direction of the sum.
  void sum_row(const Call& call, int64_t first) const {
    alignas(64) float decoded[kTile], sums[kTile];
    double total = 0;
    for (int64_t done = 0; done < x_.length; done += kTile) {
      const int64_t n = std::min(kTile, x_.length - done), at_piece = first + (reverse_ ? x_.length - done - n : done);
      const float* x = row_in(dtype_, call.in[0], at_piece, n, decoded);
      for (int64_t k = 0; k < n; ++k) {
        const int64_t i = reverse_ ? n - 1 - k : k;
        const double next = total + static_cast<double>(x[i]);
        sums[i] = static_cast<float>(exclusive_ ? total : next);
        total = next;
      }
      store_row(dtype_, sums, n, at(dtype_, call.out[0], at_piece));
    }
  }

  // Across rows: n neighbouring sums side by side.
  void sum_columns(const Call& call, int64_t first, int64_t n) const {
    alignas(64) float decoded[kTile], sums[kTile];
    alignas(64) double totals[kTile];
    std::fill_n(totals, n, 0.0);
    for (int64_t k = 0; k < x_.length; ++k) {
      const int64_t row = first + (reverse_ ? x_.length - 1 - k : k) * x_.inner;
      const float* x = row_in(dtype_, call.in[0], row, n, decoded);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        const double next = totals[i] + static_cast<double>(x[i]);
        sums[i] = static_cast<float>(exclusive_ ? totals[i] : next);
        totals[i] = next;
      }
      store_row(dtype_, sums, n, at(dtype_, call.out[0], row));
    }
  }

  template <class T>
  void run_integers(const Call& call) const {
    parallel_for(x_.outer * x_.inner, 8192 / std::max<int64_t>(1, x_.length) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t first = row / x_.inner * x_.length * x_.inner + row % x_.inner;
        T total = 0;
        for (int64_t k = 0; k < x_.length; ++k) {
          const int64_t i = first + (reverse_ ? x_.length - 1 - k : k) * x_.inner;
          const T next = static_cast<T>(total + call.input<T>(0)[i]);
          call.output<T>(0)[i] = exclusive_ ? total : next;
          total = next;
        }
      }
    });
  }

  AroundAxis x_;
  DType dtype_;
  bool reverse_, exclusive_;
};

std::unique_ptr<Kernel> prepare_cumsum(const Node& node, std::string* why) {
  if (!node.params.only({"axis", "reverse", "exclusive"}, why)) return nullptr;
  AroundAxis around;
  if (!around_axis(node.inputs[0].shape, node.params.integer("axis"), &around, why)) return nullptr;
  const DType dtype = node.inputs[0].dtype;
  if (!is_float(dtype) && (!is_integer(dtype) || dtype == DType::boolean))
    return decline(why, std::string("dtype ") + dtype_name(dtype));
  return std::make_unique<Cumsum>(around, dtype, node.params.flag("reverse"), node.params.flag("exclusive"));
}

}  // namespace
TE_KERNEL(cumsum, prepare_cumsum);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
