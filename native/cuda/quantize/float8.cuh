// The last step of kernels whose float32 result goes to float8 directly: q = float8(clip(y * scale)), amax = max |y|.
// amax is taken on the bits, where NaN is larger than infinity and infinity larger than any number, so that both show.
#pragma once
#include "cuda/gathering.cuh"
#include "cuda/values.cuh"

namespace te::cuda {

// The larger of the bits `most` and those of |y|.
__device__ inline uint32_t larger_magnitude(uint32_t most, float y) {
  const uint32_t bits = __float_as_uint(y) & 0x7fffffffu;
  return bits > most ? bits : most;
}

template <DType Q>
constexpr __nv_fp8_interpretation_t kFloat8 = Q == DType::float8_e4m3fn ? __NV_E4M3 : __NV_E5M2;

// The codes of four numbers, the first in the lowest byte: to nearest, ties to even; infinities become the largest
// number.
template <DType Q>
__device__ inline uint32_t float8_codes(float a, float b, float c, float d) {
  const uint32_t low = __nv_cvt_float2_to_fp8x2(float2{a, b}, __NV_SATFINITE, kFloat8<Q>);
  const uint32_t high = __nv_cvt_float2_to_fp8x2(float2{c, d}, __NV_SATFINITE, kFloat8<Q>);
  return low | high << 16;
}
template <DType Q>
__device__ inline uint8_t float8_code(float x) {
  return __nv_cvt_float_to_fp8(x, __NV_SATFINITE, kFloat8<Q>);
}

// Stores the codes of eight numbers, scaled; returns the larger of the bits `most` and their magnitudes before.
template <DType Q>
__device__ inline uint32_t store_octet_codes(uint8_t* to, const float (&y)[8], float scale, uint32_t most) {
#pragma unroll
  for (int k = 0; k < 8; ++k) most = larger_magnitude(most, y[k]);
  *reinterpret_cast<uint2*>(to) = uint2{float8_codes<Q>(y[0] * scale, y[1] * scale, y[2] * scale, y[3] * scale),
                                        float8_codes<Q>(y[4] * scale, y[5] * scale, y[6] * scale, y[7] * scale)};
  return most;
}

}  // namespace te::cuda
