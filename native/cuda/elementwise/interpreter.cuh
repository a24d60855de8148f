// The kernel that interprets elementwise code: each thread has four neighbouring elements, whose values lie in slots of
// shared memory, and takes one step after another for them.
#pragma once
#include "cuda/elementwise/arguments.cuh"
#include "cuda/elementwise/operations.cuh"
#include "cuda/elementwise/steps.h"
#include "cuda/primitives.cuh"
#include "te/dtype.h"

namespace te::cuda::element {

constexpr int kThreads = 128, kVector = 4, kMaxSteps = 384, kMaxConstants = 96;

// A step with slots in the place of registers.
struct SlotStep {
  Function function;
  uint8_t a, b, c, out;
};
enum class Reads : uint8_t { whole, scalar, strided };
struct Interpreted {
  int inputs, constants, steps, outputs, rank;
  DType in_dtype[kMaxInputs];
  Reads reads[kMaxInputs];
  uint8_t in_slot[kMaxInputs];
  uint8_t constant_slot[kMaxConstants];
  uint32_t constant[kMaxConstants];
  SlotStep step[kMaxSteps];
  DType out_dtype[kMaxOutputs];
  uint8_t out_slot[kMaxOutputs];
};

struct alignas(16) Four {
  uint32_t at[kVector];
};

__device__ uint32_t decode(DType t, uint32_t code) {
  switch (t) {
    case DType::bfloat16:
      return code << 16;
    case DType::float16:
      return float_bits(value_float16(code));
    case DType::float8_e4m3fn:
      return float_bits(value_float8_e4m3fn(code));
    case DType::float8_e5m2:
      return float_bits(value_float8_e5m2(code));
    case DType::float8_e8m0fnu:
      return float_bits(value_float8_e8m0fnu(code));
    default:
      return code;
  }
}
__device__ uint32_t encode(DType t, uint32_t value) {
  switch (t) {
    case DType::bfloat16:
      return code_bfloat16(bits_float(value));
    case DType::float16:
      return code_float16(bits_float(value));
    case DType::float8_e4m3fn:
      return code_float8_e4m3fn(bits_float(value));
    case DType::float8_e5m2:
      return code_float8_e5m2(bits_float(value));
    case DType::float8_e8m0fnu:
      return code_float8_e8m0fnu(bits_float(value));
    default:
      return value;
  }
}

template <class T>
__device__ Four widened(const Pack<T, kVector>& x) {
  Four to;
#pragma unroll
  for (int e = 0; e < kVector; ++e) to.at[e] = x.at[e];
  return to;
}
template <class T>
__device__ Pack<T, kVector> narrowed(const Four& x) {
  Pack<T, kVector> to;
#pragma unroll
  for (int e = 0; e < kVector; ++e) to.at[e] = static_cast<T>(x.at[e]);
  return to;
}
template <class T>
__device__ Four load_four(const void* from, int64_t first, int valid) {
  return widened(valid == kVector ? load<T, kVector>(from, first) : load<T, kVector>(from, first, valid));
}
template <class T>
__device__ void store_four(void* to, int64_t first, const Four& x, int valid) {
  valid == kVector ? store(to, first, narrowed<T>(x)) : store(to, first, narrowed<T>(x), valid);
}
__device__ uint32_t load_one(DType t, const void* from, int64_t at) {
  const size_t bytes = dtype_bytes(t);
  return bytes == 4   ? static_cast<const uint32_t*>(from)[at]
         : bytes == 2 ? static_cast<const uint16_t*>(from)[at]
                      : static_cast<const uint8_t*>(from)[at];
}

// Where the element of a repeated input lies.
template <class Index>
__device__ int64_t offset_of(const Arguments& a, int rank, int input, Index i) {
  int64_t at = 0;
  for (int d = rank - 1; d > 0; --d) {
    const Index next = divide(i, a.dims[d]);
    at += static_cast<int64_t>(i - next * static_cast<Index>(a.dims[d].size)) * a.stride[input][d];
    i = next;
  }
  return at + static_cast<int64_t>(i) * a.stride[input][0];
}

template <class Index>
__device__ Four load_input(const Arguments& a, const Interpreted& p, int k, Index first, int valid) {
  const DType t = p.in_dtype[k];
  Four x{};
  if (p.reads[k] == Reads::whole) {
    const size_t bytes = dtype_bytes(t);
    x = bytes == 4   ? load_four<uint32_t>(a.in[k], first, valid)
        : bytes == 2 ? load_four<uint16_t>(a.in[k], first, valid)
                     : load_four<uint8_t>(a.in[k], first, valid);
  } else {
#pragma unroll
    for (int e = 0; e < kVector; ++e)
      if (e < valid) x.at[e] = load_one(t, a.in[k], offset_of(a, p.rank, k, first + e));
  }
#pragma unroll
  for (int e = 0; e < kVector; ++e) x.at[e] = decode(t, x.at[e]);
  return x;
}

__device__ Four take_step(const SlotStep& s, const Four& a, const Four& b, const Four& c) {
  Four r;
#define EACH(expression)                                                      \
  _Pragma("unroll") for (int e = 0; e < kVector; ++e) r.at[e] = (expression); \
  break;
#define FLOAT(x) bits_float(x.at[e])
  switch (s.function) {
#define X(name)           \
  case Function::name##_: \
    EACH(float_bits(name(FLOAT(a))))
    TE_REAL_FROM_REAL(X)
#undef X
#define X(name)           \
  case Function::name##_: \
    EACH(float_bits(name(FLOAT(a), FLOAT(b))))
    TE_REAL_FROM_REALS(X)
#undef X
#define X(name)           \
  case Function::name##_: \
    EACH(name(FLOAT(a), FLOAT(b)))
    TE_BITS_FROM_REALS(X)
#undef X
#define X(name)           \
  case Function::name##_: \
    EACH(name(FLOAT(a)))
    TE_BITS_FROM_REAL(X)
#undef X
#define X(name)           \
  case Function::name##_: \
    EACH(float_bits(name(a.at[e])))
    TE_REAL_FROM_BITS(X)
#undef X
#define X(name)           \
  case Function::name##_: \
    EACH(name(a.at[e]))
    TE_BITS_FROM_BITS(X)
#undef X
#define X(name)           \
  case Function::name##_: \
    EACH(name(a.at[e], b.at[e]))
    TE_BITS_FROM_BOTH(X)
#undef X
    case Function::select_:
      EACH(a.at[e] != 0 ? b.at[e] : c.at[e])
  }
#undef FLOAT
#undef EACH
  return r;
}

template <class Index>
__global__ void __launch_bounds__(kThreads)
    interpret(const __grid_constant__ Arguments a, const __grid_constant__ Interpreted p) {
  Four* const slots = &block_memory<Four>() + threadIdx.x;
  const auto slot = [=](int s) -> Four& { return slots[s * kThreads]; };
  for (int k = 0; k < p.constants; ++k) {
    const uint32_t x = p.constant[k];
    slot(p.constant_slot[k]) = Four{{x, x, x, x}};
  }
  for (int k = 0; k < p.inputs; ++k) {
    if (p.reads[k] != Reads::scalar) continue;
    const uint32_t x = decode(p.in_dtype[k], load_one(p.in_dtype[k], a.in[k], 0));
    slot(p.in_slot[k]) = Four{{x, x, x, x}};
  }
  const Index total = static_cast<Index>(a.total), stride = static_cast<Index>(gridDim.x) * kThreads * kVector;
  for (Index first = (static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x) * kVector; first < total;
       first += stride) {
    const int valid = total - first < kVector ? static_cast<int>(total - first) : kVector;
    for (int k = 0; k < p.inputs; ++k)
      if (p.reads[k] != Reads::scalar) slot(p.in_slot[k]) = load_input(a, p, k, first, valid);
    for (int k = 0; k < p.steps; ++k) {
      const SlotStep s = p.step[k];
      slot(s.out) = take_step(s, slot(s.a), slot(s.b), slot(s.c));
    }
    for (int j = 0; j < p.outputs; ++j) {
      const DType t = p.out_dtype[j];
      Four x = slot(p.out_slot[j]);
#pragma unroll
      for (int e = 0; e < kVector; ++e) x.at[e] = encode(t, x.at[e]);
      const size_t bytes = dtype_bytes(t);
      bytes == 4   ? store_four<uint32_t>(a.out[j], first, x, valid)
      : bytes == 2 ? store_four<uint16_t>(a.out[j], first, x, valid)
                   : store_four<uint8_t>(a.out[j], first, x, valid);
    }
  }
}

}  // namespace te::cuda::element
