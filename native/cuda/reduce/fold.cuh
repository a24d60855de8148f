// What reductions fold: each policy has an accumulator, takes codes of elements into it, combines two, and makes the
// code of the result. A policy's `take` is given the element's index along the reduced axes.
#pragma once
#include "cuda/elementwise/formats.cuh"
#include "te/dtype.h"

namespace te::cuda::reduce {

// The width of a code leaves few formats, which keeps the kernels' inner loops short.
__device__ inline float value_of(DType, uint32_t code) { return element::bits_float(code); }
__device__ inline float value_of(DType t, uint16_t code) {
  return t == DType::bfloat16 ? element::value_bfloat16(code) : element::value_float16(code);
}
__device__ inline float value_of(DType t, uint8_t code) {
  return t == DType::float8_e4m3fn ? element::value_float8_e4m3fn(code)
         : t == DType::float8_e5m2 ? element::value_float8_e5m2(code)
                                   : element::value_float8_e8m0fnu(code);
}
__device__ inline uint32_t code_of(DType t, float x) {
  switch (t) {
    case DType::bfloat16:
      return element::code_bfloat16(x);
    case DType::float16:
      return element::code_float16(x);
    case DType::float8_e4m3fn:
      return element::code_float8_e4m3fn(x);
    case DType::float8_e5m2:
      return element::code_float8_e5m2(x);
    case DType::float8_e8m0fnu:
      return element::code_float8_e8m0fnu(x);
    default:
      return element::float_bits(x);
  }
}
__host__ __device__ inline bool is_float_code(DType t) { return t <= DType::float8_e8m0fnu; }

// A sum of floats in two parts: `low` is what the additions to `high` have rounded away. (Knuth's TwoSum.)
struct Sum {
  struct Accumulator {
    float high, low;
  };
  DType dtype;
  __device__ Accumulator initial() const { return {0, 0}; }
  template <class T>
  __device__ void take(Accumulator& a, T code, uint32_t) const {
    add(a, value_of(dtype, code));
  }
  __device__ void combine(Accumulator& a, const Accumulator& b) const {
    add(a, b.high);
    a.low += b.low;
  }
  // The rounding errors of an infinite sum are no numbers.
  __device__ uint32_t result(const Accumulator& a) const {
    return code_of(dtype, fabsf(a.high) <= 3.402823466e38f ? a.high + a.low : a.high);
  }

 private:
  __device__ static void add(Accumulator& a, float x) {
    const float sum = a.high + x, added = sum - a.high;
    a.low += (a.high - (sum - added)) + (x - added);
    a.high = sum;
  }
};

// In double, whose range a product that ends inside of float32's may leave on its way far less.
struct Product {
  using Accumulator = double;
  DType dtype;
  __device__ double initial() const { return 1; }
  template <class T>
  __device__ void take(double& a, T code, uint32_t) const {
    a *= static_cast<double>(value_of(dtype, code));
  }
  __device__ void combine(double& a, double b) const { a *= b; }
  __device__ uint32_t result(double a) const { return code_of(dtype, static_cast<float>(a)); }
};

// Sums and products of integers, which wrap around.
struct Integers {
  using Accumulator = uint32_t;
  bool product;
  __device__ uint32_t initial() const { return product; }
  __device__ void take(uint32_t& a, uint32_t code, uint32_t) const { combine(a, code); }
  __device__ void combine(uint32_t& a, uint32_t b) const { a = product ? a * b : a + b; }
  __device__ uint32_t result(uint32_t a) const { return a; }
};

// Numbers whose order as uint32 is that of the elements of a dtype; for minima the reverse. Both zeros are one number,
// and NaN is beyond all.
struct Order {
  DType dtype;
  bool reversed;
  template <class T>
  __device__ uint32_t key(T code) const {
    if (sizeof(T) != 2 && !is_float_code(dtype)) return turned(dtype == DType::int32 ? code ^ 0x80000000u : code);
    const float x = value_of(dtype, code) + 0.0f;
    const uint32_t u = element::float_bits(x);
    return x != x ? ~0u : turned(u >> 31 ? ~u : u | 0x80000000u);
  }
  __device__ uint32_t code(uint32_t key) const {
    const uint32_t ordered = turned(key);
    if (!is_float_code(dtype)) return dtype == DType::int32 ? ordered ^ 0x80000000u : ordered;
    const uint32_t u = ordered >> 31 ? ordered & 0x7fffffffu : ~ordered;
    return code_of(dtype, element::bits_float(key == ~0u ? 0x7fc00000u : u));
  }
  // Of the infinity, or of the last integer, that everything beats.
  __device__ uint32_t least() const {
    if (is_float_code(dtype)) return turned(reversed ? 0xff800000u : 0x007fffffu);
    const uint32_t last = dtype == DType::boolean ? 1u : dtype == DType::uint8 ? 255u : ~0u;
    return turned(reversed ? last : 0u);
  }

 private:
  __device__ uint32_t turned(uint32_t ordered) const { return reversed ? ~ordered : ordered; }
};

struct Extreme {
  using Accumulator = uint32_t;
  Order order;
  __device__ uint32_t initial() const { return order.least(); }
  template <class T>
  __device__ void take(uint32_t& a, T code, uint32_t) const {
    combine(a, order.key(code));
  }
  __device__ void combine(uint32_t& a, uint32_t b) const { a = b > a ? b : a; }
  __device__ uint32_t result(uint32_t a) const { return order.code(a); }
};

// Where the extreme is: the key above, and below it the complement of the index, so that the first of equals wins.
struct Place {
  using Accumulator = unsigned long long;
  Order order;
  __device__ Accumulator initial() const { return 0; }
  template <class T>
  __device__ void take(Accumulator& a, T code, uint32_t index) const {
    combine(a, static_cast<Accumulator>(order.key(code)) << 32 | ~index);
  }
  __device__ void combine(Accumulator& a, Accumulator b) const { a = b > a ? b : a; }
  __device__ uint32_t result(Accumulator a) const { return ~static_cast<uint32_t>(a); }
};

}  // namespace te::cuda::reduce
