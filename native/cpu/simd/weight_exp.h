// The exponential of softmax weights: fewer steps than simd_exp, because arguments do not exceed the row's largest.
#pragma once
#include "cpu/simd/math.h"

namespace te {
namespace TE_ISA_NAMESPACE {

// e^x within 2 units in the last place for x in [-87, 88]; 0 below (-inf too); NaN gives NaN. Above 88 it is undefined.
inline float weight_exp(float x) {
  using namespace simd_detail;
  const Reduced a = reduce_ln2(x);
  const float p = exp_tail(a.r) * (a.r * a.r) + a.r + 1.0f;
  const float y = p * from_bits((static_cast<uint32_t>(a.n) << 23) + 0x3f800000u);
  return x < -87.0f ? 0.0f : y;
}

}  // namespace TE_ISA_NAMESPACE
}  // namespace te
