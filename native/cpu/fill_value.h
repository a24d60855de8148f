// One number as an element of any dtype, repeated.
#pragma once
#include <cmath>
#include <cstring>

#include "cpu/simd/convert.h"
#include "te/kernel.h"
#include "te/parallel.h"

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class FillValue {
 public:
  FillValue(DType dtype, double value) : width_(dtype_bytes(dtype)) {
    switch (dtype) {
      case DType::int32:
        put(static_cast<int32_t>(value));
        break;
      case DType::uint32:
        put(static_cast<uint32_t>(value));
        break;
      case DType::uint8:
        put(static_cast<uint8_t>(value));
        break;
      case DType::boolean:
        put(static_cast<uint8_t>(value != 0));
        break;
      case DType::float64:
        put(value);
        break;
      default: {
        const float wide = static_cast<float>(value);
        store_row(dtype, &wide, 1, bits_);
      }
    }
  }

  void fill(void* to, int64_t n) const {
    switch (width_) {
      case 1:
        return repeat<uint8_t>(to, n);
      case 2:
        return repeat<uint16_t>(to, n);
      case 4:
        return repeat<uint32_t>(to, n);
      default:
        return repeat<uint64_t>(to, n);
    }
  }

 private:
  template <class T>
  void put(T value) {
    std::memcpy(bits_, &value, sizeof value);
  }

  template <class T>
  void repeat(void* to, int64_t n) const {
    T value;
    std::memcpy(&value, bits_, sizeof value);
    parallel_for(n, 1 << 16, [&](int64_t begin, int64_t end) {
      T* out = static_cast<T*>(to);
      for (int64_t i = begin; i < end; ++i) out[i] = value;
    });
  }

  size_t width_;
  alignas(8) unsigned char bits_[8] = {};
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
