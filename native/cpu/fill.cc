// fill(){value, shape, dtype} → y, one value everywhere; iota(){shape, dtype, axis} → y, the index along an axis.
// te: once
#include <algorithm>

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
  Iota(const Aval& y, size_t axis)
      : dtype_(y.dtype), length_(y.shape[axis]), inner_(strides_of(y.shape)[axis]), size_(y.size()) {}

  void run(const Call& call) override {
    if (size_ == 0) return;
    const int64_t grain = (1 << 14) / inner_ + 1;
    parallel_for(size_ / inner_, grain, [&](int64_t begin, int64_t end) {
      if (inner_ == 1) {
        for (int64_t i = begin; i < end;) {  // runs of consecutive numbers
          const int64_t n = std::min(end - i, length_ - i % length_);
          count_up(i % length_, n, at(call, i));
          i += n;
        }
      } else {
        for (int64_t row = begin; row < end; ++row) {
          const FillValue value(dtype_, static_cast<double>(row % length_));
          value.fill(at(call, row * inner_), inner_);
        }
      }
    });
  }

 private:
  char* at(const Call& call, int64_t element) const {
    return call.output<char>(0) + element * static_cast<int64_t>(dtype_bytes(dtype_));
  }

  template <class T>
  static void count_integers(int64_t first, int64_t n, void* to) {
    T* out = static_cast<T*>(to);
    for (int64_t i = 0; i < n; ++i) out[i] = static_cast<T>(first + i);
  }

  void count_up(int64_t first, int64_t n, char* to) const {
    if (dtype_ == DType::int32 || dtype_ == DType::uint32) return count_integers<uint32_t>(first, n, to);
    if (dtype_ == DType::uint8) return count_integers<uint8_t>(first, n, to);
    constexpr int64_t kPiece = 256;
    float row[kPiece];
    for (int64_t i = 0; i < n; i += kPiece) {
      const int64_t length = std::min(kPiece, n - i);
      for (int64_t k = 0; k < length; ++k) row[k] = static_cast<float>(first + i + k);
      store_row(dtype_, row, length, to + i * static_cast<int64_t>(dtype_bytes(dtype_)));
    }
  }

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
