// te: once
// cumsum(x){axis, reverse, exclusive} → y. Narrow floats accumulate in float32, integers wrap around.
#include "cpu/convert.h"
#include "cpu/index.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Cumsum : public Kernel {
 public:
  Cumsum(const AroundAxis& x, DType dtype, bool reverse, bool exclusive)
      : x_(x), dtype_(dtype), reverse_(reverse), exclusive_(exclusive) {}

  void run(const Call& call) override {
    const bool integer = dtype_ == DType::int32 || dtype_ == DType::uint32;
    parallel_for(x_.outer * x_.inner, (1 << 12) / (x_.length + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t first = (row / x_.inner) * x_.length * x_.inner + row % x_.inner;
        if (integer) sum<uint32_t>(call, first);
        else if (dtype_ == DType::uint8) sum<uint8_t>(call, first);
        else sum_floats(call, first);
      }
    });
  }

 private:
  int64_t position(int64_t first, int64_t k) const { return first + (reverse_ ? x_.length - 1 - k : k) * x_.inner; }

  template <class T>
  void sum(const Call& call, int64_t first) const {
    T total = 0;
    for (int64_t k = 0; k < x_.length; ++k) {
      const int64_t i = position(first, k);
      const T next = static_cast<T>(total + call.input<T>(0)[i]);
      call.output<T>(0)[i] = exclusive_ ? total : next;
      total = next;
    }
  }

  // A double carries the running sum, so that long axes keep float32's precision.
  void sum_floats(const Call& call, int64_t first) const {
    const size_t width = dtype_bytes(dtype_);
    double total = 0;
    for (int64_t k = 0; k < x_.length; ++k) {
      const size_t at = static_cast<size_t>(position(first, k)) * width;
      float value;
      load_row(dtype_, call.input<char>(0) + at, 1, &value);
      const double next = total + static_cast<double>(value);
      const float result = static_cast<float>(exclusive_ ? total : next);
      store_row(dtype_, &result, 1, call.output<char>(0) + at);
      total = next;
    }
  }

  AroundAxis x_;
  DType dtype_;
  bool reverse_, exclusive_;
};

std::unique_ptr<Kernel> prepare_cumsum(const Node& node, std::string* why) {
  if (!node.params.only({"axis", "reverse", "exclusive"}, why)) return nullptr;
  AroundAxis around;
  if (!around_axis(node.inputs[0].shape, node.params.integer("axis"), &around, why)) return nullptr;
  if (node.inputs[0].dtype == DType::float64 || node.inputs[0].dtype == DType::boolean) {
    *why = std::string("dtype ") + dtype_name(node.inputs[0].dtype);
    return nullptr;
  }
  return std::make_unique<Cumsum>(around, node.inputs[0].dtype, node.params.flag("reverse"), node.params.flag("exclusive"));
}

}  // namespace
TE_KERNEL(cumsum, prepare_cumsum);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
