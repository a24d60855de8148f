// Elements of any dtype as unsigned keys whose order is the wanted one: NaN last either way, -0 equal to 0.
#pragma once
#include <cstdint>

#include "te/dtype.h"

namespace te::cuda {

struct Order {
  Order(DType dtype, bool descending) : bytes(static_cast<int>(dtype_bytes(dtype))), descending(descending) {
    mask = bytes == 4 ? ~0u : (1u << 8 * bytes) - 1;
    top = magnitude = largest = mask;
    switch (dtype) {
      case DType::float32:
        take_float(0x7f800000u);
        break;
      case DType::bfloat16:
        take_float(0x7f80u);
        break;
      case DType::float16:
        take_float(0x7c00u);
        break;
      case DType::float8_e4m3fn:
        take_float(0x7eu);
        break;
      case DType::float8_e5m2:
        take_float(0x7cu);
        break;
      case DType::float8_e8m0fnu:
        top = largest = 254;
        break;
      case DType::int32:
        flip = 0x80000000u;
        break;
      default:
        break;
    }
  }

  __device__ uint32_t key(uint32_t code) const {
    const uint32_t size = code & magnitude;
    if (size > largest) return mask;
    if (sign) {
      if (size == 0) code = 0;
      code = code & sign ? ~code & mask : code | sign;
    }
    code ^= flip;
    return descending ? top - code : code;
  }

  // Element i of x.
  __device__ uint32_t key_of(const void* x, int64_t i) const {
    return key(bytes == 4   ? static_cast<const uint32_t*>(x)[i]
               : bytes == 2 ? static_cast<const uint16_t*>(x)[i]
                            : static_cast<const uint8_t*>(x)[i]);
  }
  __device__ void copy(const void* x, int64_t from, void* y, int64_t to) const {
    if (bytes == 4)
      static_cast<uint32_t*>(y)[to] = static_cast<const uint32_t*>(x)[from];
    else if (bytes == 2)
      static_cast<uint16_t*>(y)[to] = static_cast<const uint16_t*>(x)[from];
    else
      static_cast<uint8_t*>(y)[to] = static_cast<const uint8_t*>(x)[from];
  }

  int bytes;
  bool descending;
  uint32_t mask;       // of a code, and the key of NaN
  uint32_t top;        // the largest key of a number
  uint32_t magnitude;  // the bits of a code without its sign
  uint32_t largest;    // above this magnitude: NaN
  uint32_t sign = 0;   // of floats
  uint32_t flip = 0;   // of integers

 private:
  void take_float(uint32_t infinity) {
    sign = mask ^ mask >> 1;
    magnitude = mask >> 1;
    largest = infinity;
  }
};

}  // namespace te::cuda
