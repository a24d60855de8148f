// A thread combines neighbouring elements of all parts: bound by reading them once.
#include "cuda/collective/combine.h"
#include "cuda/launch.h"
#include "cuda/values.cuh"
#include "cuda/vector.cuh"

namespace te::cuda {
namespace {

constexpr int kThreads = 256;

// What is computed with for elements of a type, and both ways.
template <class T>
struct Arithmetic {
  using Number = T;
  __device__ static T load(T x) { return x; }
  __device__ static T store(T x) { return x; }
};
template <>
struct Arithmetic<__nv_bfloat16> {
  using Number = float;
  __device__ static float load(__nv_bfloat16 x) { return __bfloat162float(x); }
  __device__ static __nv_bfloat16 store(float x) { return __float2bfloat16_rn(x); }
};
template <>
struct Arithmetic<__half> {
  using Number = float;
  __device__ static float load(__half x) { return __half2float(x); }
  __device__ static __half store(float x) { return __float2half_rn(x); }
};
template <class Fp8, __nv_fp8_interpretation_t kKind>
struct Fp8Arithmetic {
  using Number = float;
  __device__ static float load(Fp8 x) { return static_cast<float>(x); }
  __device__ static Fp8 store(float x) {
    Fp8 code;
    code.__x = __nv_cvt_float_to_fp8(x, __NV_NOSAT, kKind);
    return code;
  }
};
template <>
struct Arithmetic<__nv_fp8_e4m3> : Fp8Arithmetic<__nv_fp8_e4m3, __NV_E4M3> {};
template <>
struct Arithmetic<__nv_fp8_e5m2> : Fp8Arithmetic<__nv_fp8_e5m2, __NV_E5M2> {};

// NaN stays. Sums of whole numbers wrap around: they are unsigned here.
template <class Number>
__device__ Number combined(Reduction reduction, Number a, Number b) {
  if (reduction == Reduction::sum) return static_cast<Number>(a + b);
  if (a != a) return a;
  if (reduction == Reduction::max) return b > a || b != b ? b : a;
  return b < a || b != b ? b : a;
}

template <class T, int kLength>
__global__ void __launch_bounds__(kThreads)
    combine_parts(const Reduction reduction, const Parts parts, const int64_t n) {
  using As = Arithmetic<T>;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kLength;
  if (first >= n) return;
  const int have = left_of(n, first);
  typename As::Number all[kLength] = {};
#pragma unroll 4
  for (int64_t k = 0; k < parts.count; ++k) {
    const char* part = k == parts.place ? static_cast<const char*>(parts.own)
                                        : static_cast<const char*>(parts.slots) + k * parts.stride;
    const auto x = load_part<T, kLength>(reinterpret_cast<const T*>(part) + first, have);
#pragma unroll
    for (int i = 0; i < kLength; ++i)
      all[i] = k == 0 ? As::load(x.at[i]) : combined(reduction, all[i], As::load(x.at[i]));
  }
  Vector<T, kLength> y;
#pragma unroll
  for (int i = 0; i < kLength; ++i) y.at[i] = As::store(all[i]);
  store_part(y, static_cast<T*>(parts.to) + first, have);
}

template <class T, int kLength>
void launch_combine(Reduction reduction, const Parts& parts, int64_t n) {
  const int64_t per_block = int64_t{kThreads} * kLength;
  launch("combine", combine_parts<T, kLength>,
         {dim3(static_cast<unsigned>((n + per_block - 1) / per_block)), dim3(kThreads)}, reduction, parts, n);
}

template <class T>
void combine_of(Reduction reduction, const Parts& parts, int64_t n) {
  reinterpret_cast<uintptr_t>(parts.own) % 16 == 0 ? launch_combine<T, kWidest<T>>(reduction, parts, n)
                                                   : launch_combine<T, 1>(reduction, parts, n);
}

}  // namespace

void combine(Reduction reduction, DType type, const Parts& parts, int64_t n) {
  if (n == 0) return;
  switch (type) {
    case DType::float32:
      return combine_of<float>(reduction, parts, n);
    case DType::bfloat16:
      return combine_of<__nv_bfloat16>(reduction, parts, n);
    case DType::float16:
      return combine_of<__half>(reduction, parts, n);
    case DType::float8_e4m3fn:
      return combine_of<__nv_fp8_e4m3>(reduction, parts, n);
    case DType::float8_e5m2:
      return combine_of<__nv_fp8_e5m2>(reduction, parts, n);
    case DType::int32:
      if (reduction != Reduction::sum) return combine_of<int32_t>(reduction, parts, n);
      return combine_of<uint32_t>(reduction, parts, n);
    case DType::uint32:
      return combine_of<uint32_t>(reduction, parts, n);
    default:
      return combine_of<uint8_t>(reduction, parts, n);
  }
}

}  // namespace te::cuda
