// take(x, indices){axis} → y and take_along_axis(x, indices){axis} → y. An index out of range is an error.
// te: once
#include <algorithm>
#include <cstring>

#include "cpu/index.h"
#include "cpu/simd/stream.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Take : public Kernel {
 public:
  Take(const AroundAxis& x, int64_t indices, size_t width) : x_(x), indices_(indices), width_(width) {}

  void run(const Call& call) override {
    const int32_t* indices = call.input<int32_t>(1);
    check_indices("take", indices, indices_, x_.length);
    switch (static_cast<size_t>(x_.inner) * width_) {  // a single element is a load and a store
      case 0:
        return;  // maybe many rows of nothing
      case 1:
        return take_elements<uint8_t>(call, indices);
      case 2:
        return take_elements<uint16_t>(call, indices);
      case 4:
        return take_elements<uint32_t>(call, indices);
      default:
        return take_rows(call, indices);
    }
  }

 private:
  template <class T>
  void take_elements(const Call& call, const int32_t* indices) const {
    parallel_for(x_.outer * indices_, 1 << 14, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end;) {
        const int64_t outer = i / indices_, first = i % indices_, n = std::min(end - i, indices_ - first);
        const T* from = call.input<T>(0) + outer * x_.length;
        T* to = call.output<T>(0) + i;
        for (int64_t k = 0; k < n; ++k) to[k] = from[indices[first + k]];
        i += n;
      }
    });
  }

  void take_rows(const Call& call, const int32_t* indices) const {
    const char* from = call.input<char>(0);
    char* to = call.output<char>(0);
    const size_t row = static_cast<size_t>(x_.inner) * width_;
    const int64_t grain = static_cast<int64_t>((size_t{1} << 16) / (row + 1)) + 1;
    const bool stream = streams_rows(x_.outer * indices_, static_cast<int64_t>(row));
    parallel_for(x_.outer * indices_, grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t source = (i / indices_) * x_.length + indices[i % indices_];
        copy_row(to + static_cast<size_t>(i) * row, from + static_cast<size_t>(source) * row, static_cast<int64_t>(row),
                 stream);
      }
      if (stream) finish_streaming();
    });
  }

  AroundAxis x_;
  int64_t indices_;
  size_t width_;
};

std::unique_ptr<Kernel> prepare_take(const Node& node, std::string* why) {
  AroundAxis around;
  if (!read_take(node, &around, why)) return nullptr;
  return std::make_unique<Take>(around, node.inputs[1].size(), dtype_bytes(node.inputs[0].dtype));
}

class TakeAlongAxis : public Kernel {
 public:
  TakeAlongAxis(const AroundAxis& x, int64_t length, size_t width) : x_(x), length_(length), width_(width) {}

  void run(const Call& call) override {
    check_indices("takeAlongAxis", call.input<int32_t>(1), x_.outer * length_ * x_.inner, x_.length);
    if (x_.inner == 0) return;  // maybe many rows of nothing
    switch (width_) {
      case 1:
        return gather<uint8_t>(call);
      case 2:
        return gather<uint16_t>(call);
      case 4:
        return gather<uint32_t>(call);
      default:
        return gather<uint64_t>(call);
    }
  }

 private:
  template <class T>
  void gather(const Call& call) const {
    const int32_t* indices = call.input<int32_t>(1);
    T* to = call.output<T>(0);
    parallel_for(x_.outer * length_, (1 << 14) / (x_.inner + 1) + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const T* from = call.input<T>(0) + (row / length_) * x_.length * x_.inner;
        for (int64_t k = 0; k < x_.inner; ++k) {
          const int64_t at = row * x_.inner + k;
          to[at] = from[indices[at] * x_.inner + k];
        }
      }
    });
  }

  AroundAxis x_;
  int64_t length_;
  size_t width_;
};

std::unique_ptr<Kernel> prepare_take_along_axis(const Node& node, std::string* why) {
  AroundAxis x, y;
  if (!read_take_along_axis(node, &x, &y, why)) return nullptr;
  return std::make_unique<TakeAlongAxis>(x, y.length, dtype_bytes(node.inputs[0].dtype));
}

}  // namespace
TE_KERNEL(take, prepare_take);
TE_KERNEL(take_along_axis, prepare_take_along_axis);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
