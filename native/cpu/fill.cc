// te: once
// fill(){value, shape, dtype} → y, one value everywhere; iota(){shape, dtype, axis} → y, the index along an axis.
#include "cpu/fill_value.h"
#include "cpu/strided.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Fill : public Kernel {
 public:
  Fill(const Aval& y, double value) : value_(y.dtype, value), size_(y.size()) {}
  void run(const Call& call) override { value_.fill(call.out[0], size_); }

 private:
  FillValue value_;
  int64_t size_;
};

std::unique_ptr<Kernel> prepare_fill(const Node& node, std::string* why) {
  if (!node.params.only({"value", "shape", "dtype"}, why)) return nullptr;
  return std::make_unique<Fill>(node.outputs[0], node.params.number("value"));
}

class Iota : public Kernel {
 public:
  Iota(const Aval& y, size_t axis) : dtype_(y.dtype), length_(y.shape[axis]), inner_(strides_of(y.shape)[axis]), size_(y.size()) {}

  void run(const Call& call) override {
    char* out = call.output<char>(0);
    const size_t width = dtype_bytes(dtype_);
    if (size_ == 0) return;
    parallel_for(size_ / inner_, (1 << 14) / inner_ + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const FillValue value(dtype_, static_cast<double>(row % length_));
        value.fill(out + static_cast<size_t>(row * inner_) * width, inner_);
      }
    });
  }

 private:
  DType dtype_;
  int64_t length_, inner_, size_;
};

std::unique_ptr<Kernel> prepare_iota(const Node& node, std::string* why) {
  if (!node.params.only({"shape", "dtype", "axis"}, why)) return nullptr;
  const Aval& y = node.outputs[0];
  int64_t axis = node.params.integer("axis");
  const int64_t rank = static_cast<int64_t>(y.shape.size());
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) {
    *why = "an axis that y does not have";
    return nullptr;
  }
  return std::make_unique<Iota>(y, static_cast<size_t>(axis));
}

}  // namespace
TE_KERNEL(fill, prepare_fill);
TE_KERNEL(iota, prepare_iota);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
