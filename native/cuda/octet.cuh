// Eight elements of a float type that is known at run time, which move in pieces of 16 bytes and are computed as
// float32. Loads come first and are decoded later, so that several can be under way.
#pragma once
#include "cuda/values.cuh"

namespace te::cuda {

constexpr int kOctet = 8;

// As they are stored; `second` is there for float32.
struct Octet {
  uint4 first, second;
};

// Elements [i, i + 8) of p, which starts at a multiple of 16 bytes, as i does.
__device__ inline Octet load_octet(DType t, const void* p, int64_t i) {
  const bool wide = t == DType::float32;
  const uint4* at = reinterpret_cast<const uint4*>(static_cast<const char*>(p) + i * (wide ? 4 : 2));
  Octet o;
  o.first = at[0];
  o.second = wide ? at[1] : uint4{};
  return o;
}

__device__ inline void decode_octet(DType t, const Octet& o, float (&x)[kOctet]) {
  const uint32_t words[kOctet] = {o.first.x,  o.first.y,  o.first.z,  o.first.w,
                                  o.second.x, o.second.y, o.second.z, o.second.w};
  if (t == DType::float32) {
#pragma unroll
    for (int k = 0; k < kOctet; ++k) x[k] = __uint_as_float(words[k]);
  } else if (t == DType::bfloat16) {
#pragma unroll
    for (int k = 0; k < kOctet / 2; ++k) {
      x[2 * k] = __uint_as_float(words[k] << 16);
      x[2 * k + 1] = __uint_as_float(words[k] & 0xffff0000u);
    }
  } else {
#pragma unroll
    for (int k = 0; k < kOctet / 2; ++k) {
      x[2 * k] = __half2float(__ushort_as_half(static_cast<unsigned short>(words[k] & 0xffff)));
      x[2 * k + 1] = __half2float(__ushort_as_half(static_cast<unsigned short>(words[k] >> 16)));
    }
  }
}

// Rounds to elements [i, i + 8) of p.
__device__ inline void store_octet(DType t, void* p, int64_t i, const float (&x)[kOctet]) {
  if (t == DType::float32) {
    float4* at = reinterpret_cast<float4*>(static_cast<float*>(p) + i);
    at[0] = float4{x[0], x[1], x[2], x[3]};
    at[1] = float4{x[4], x[5], x[6], x[7]};
    return;
  }
  uint32_t words[kOctet / 2];
#pragma unroll
  for (int k = 0; k < kOctet / 2; ++k) {
    const uint32_t low = t == DType::bfloat16 ? __bfloat16_as_ushort(__float2bfloat16_rn(x[2 * k]))
                                              : __half_as_ushort(__float2half_rn(x[2 * k]));
    const uint32_t high = t == DType::bfloat16 ? __bfloat16_as_ushort(__float2bfloat16_rn(x[2 * k + 1]))
                                               : __half_as_ushort(__float2half_rn(x[2 * k + 1]));
    words[k] = low | high << 16;
  }
  *reinterpret_cast<uint4*>(static_cast<char*>(p) + 2 * i) = uint4{words[0], words[1], words[2], words[3]};
}

}  // namespace te::cuda
