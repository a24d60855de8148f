// One number as an element of any dtype, as the host rounds it.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cstring>

#include "te/dtype.h"

namespace te::cuda {

// The code of the nearest power of two in float8_e8m0fnu. Zero, negative numbers and infinities have none: NaN.
__host__ __device__ inline uint8_t power_of_two(float x) {
#ifdef __CUDA_ARCH__
  const uint32_t u = __float_as_uint(x);
#else
  uint32_t u;
  std::memcpy(&u, &x, sizeof u);
#endif
  if (u == 0 || u >= 0x7f800000u) return 255;
  if (u < 0x00800000u) return u > 0x00400000u;
  return static_cast<uint8_t>((u + 0x00400000u) >> 23);
}

// 16 bytes of it.
struct Pattern {
  Pattern(DType dtype, double value) {
    unsigned char element[8];
    encode(dtype, value, element);
    const size_t width = dtype_bytes(dtype);
    for (size_t i = 0; i < sizeof bytes; i += width) std::memcpy(bytes + i, element, width);
  }

  alignas(16) unsigned char bytes[16];

 private:
  template <class T>
  static void put(T value, unsigned char* to) {
    std::memcpy(to, &value, sizeof value);
  }
  static void encode(DType dtype, double value, unsigned char* to) {
    const float wide = static_cast<float>(value);
    switch (dtype) {
      case DType::float32:
        return put(wide, to);
      case DType::bfloat16:
        return put(__float2bfloat16_rn(wide), to);
      case DType::float16:
        return put(__float2half_rn(wide), to);
      case DType::float8_e4m3fn:
        return put(__nv_cvt_float_to_fp8(wide, __NV_NOSAT, __NV_E4M3), to);
      case DType::float8_e5m2:
        return put(__nv_cvt_float_to_fp8(wide, __NV_NOSAT, __NV_E5M2), to);
      case DType::float8_e8m0fnu:
        return put(power_of_two(wide), to);
      case DType::int32:
        return put(static_cast<int32_t>(value), to);
      case DType::uint32:
        return put(static_cast<uint32_t>(value), to);
      case DType::uint8:
        return put(static_cast<uint8_t>(value), to);
      case DType::boolean:
        return put(static_cast<uint8_t>(value != 0), to);
      case DType::float64:
        return put(value, to);
    }
  }
};

}  // namespace te::cuda
