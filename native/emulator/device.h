// CUDA C++ for g++: what a kernel file needs beside NVIDIA's own headers, whose types (dim3, float4, __nv_bfloat16,
// __nv_fp8_e4m3 …) and conversions work on the host as they are. Compile with
//   g++ -x c++ -include emu/device.h -DTE_CUDA_EMULATED -I$CUDA/include kernel.cu
#pragma once
#include <cuda_runtime_api.h>
#include <vector_functions.h>

#include <cmath>
#include <cstring>
#include <type_traits>

#include "emulator/fiber.h"

#undef __shared__
#undef __constant__
#undef __global__
#define __global__
#undef __launch_bounds__
#define __launch_bounds__(...)
// One block runs at a time, so that a block's shared variables can be static.
#define __shared__ static
#define __constant__ static

#define threadIdx (::te::emu::context.lane->thread)
#define blockIdx (::te::emu::context.block)
#define blockDim (::te::emu::context.threads)
#define gridDim (::te::emu::context.grid)
static constexpr int warpSize = 32;

// --- barriers and fences
// ----------------------------------------------------------------------------------------------

#define __syncthreads() ::te::emu::barrier(0, 0, "__syncthreads", __LINE__)
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace te::emu {

template <class T>
struct Exchange {
  T value;
  T result;
  int a, width;
};

inline int group_lane(int lane, int width, int within) { return (lane & ~(width - 1)) + within; }

template <class T, class Source>
T shuffle(uint32_t mask, const char* name, T value, int a, int width, Source) {
  static_assert(std::is_trivially_copyable_v<T>);
  Exchange<T> x{value, value, a, width};
  collective(
      mask, name,
      [](void* const args[32], uint32_t m) {
        for (int i = 0; i < 32; ++i) {
          if (!(m >> i & 1)) continue;
          auto& to = *static_cast<Exchange<T>*>(args[i]);
          const int from = Source{}(i, to.a, to.width);
          if (from < 0) continue;  // keeps its own
          if (!(m >> from & 1)) fail("a shuffle reads lane %d, which is not in the mask %08x", from, m);
          to.result = static_cast<Exchange<T>*>(args[from])->value;
        }
      },
      &x);
  return x.result;
}

struct FromXor {
  int operator()(int i, int a, int width) const { return group_lane(i, width, (i ^ a) & (width - 1)); }
};
struct FromIndex {
  int operator()(int i, int a, int width) const { return group_lane(i, width, a & (width - 1)); }
};
struct FromUp {
  int operator()(int i, int a, int width) const { return (i & (width - 1)) < a ? -1 : i - a; }
};
struct FromDown {
  int operator()(int i, int a, int width) const { return (i & (width - 1)) + a >= width ? -1 : i + a; }
};

struct Vote {
  uint32_t value, result;
};
inline uint32_t ballot(uint32_t mask, const char* name, bool value) {
  Vote v{value, 0};
  collective(
      mask, name,
      [](void* const args[32], uint32_t m) {
        uint32_t all = 0;
        for (int i = 0; i < 32; ++i)
          if (m >> i & 1) all |= static_cast<Vote*>(args[i])->value << i;
        for (int i = 0; i < 32; ++i)
          if (m >> i & 1) static_cast<Vote*>(args[i])->result = all;
      },
      &v);
  return v.result;
}

}  // namespace te::emu

inline void __syncwarp(unsigned mask = 0xffffffffu) { ::te::emu::collective(mask, "__syncwarp", nullptr, nullptr); }
inline unsigned __activemask() { return ::te::emu::live_lanes(); }
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lane_mask, int width = 32) {
  return ::te::emu::shuffle(mask, "__shfl_xor_sync", value, lane_mask, width, ::te::emu::FromXor{});
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
  return ::te::emu::shuffle(mask, "__shfl_sync", value, from, width, ::te::emu::FromIndex{});
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return ::te::emu::shuffle(mask, "__shfl_up_sync", value, static_cast<int>(delta), width, ::te::emu::FromUp{});
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  return ::te::emu::shuffle(mask, "__shfl_down_sync", value, static_cast<int>(delta), width, ::te::emu::FromDown{});
}
inline unsigned __ballot_sync(unsigned mask, int value) { return ::te::emu::ballot(mask, "__ballot_sync", value != 0); }
inline int __any_sync(unsigned mask, int value) { return ::te::emu::ballot(mask, "__any_sync", value != 0) != 0; }
inline int __all_sync(unsigned mask, int value) { return ::te::emu::ballot(mask, "__all_sync", value != 0) == mask; }

// --- atomics: no other thread runs meanwhile
// --------------------------------------------------------------------------

namespace te::emu {
template <class T, class F>
T atomic(T* at, F&& f) {
  // through volatile, which the checker leaves out: an atomic access never races with another
  volatile T* v = at;
  const T old = *v;
  *v = f(old);
  progress();
  return old;
}
}  // namespace te::emu
#define TE_EMU_ATOMIC(name, type, expression)                                     \
  inline type name(type* at, type x) {                                            \
    return ::te::emu::atomic(at, [x](type old) -> type { return (expression); }); \
  }
TE_EMU_ATOMIC(atomicAdd, float, old + x)
TE_EMU_ATOMIC(atomicAdd, int, old + x)
TE_EMU_ATOMIC(atomicAdd, unsigned, old + x)
TE_EMU_ATOMIC(atomicAdd, unsigned long long, old + x)
TE_EMU_ATOMIC(atomicMax, int, old < x ? x : old)
TE_EMU_ATOMIC(atomicMax, unsigned, old < x ? x : old)
TE_EMU_ATOMIC(atomicMin, int, old > x ? x : old)
TE_EMU_ATOMIC(atomicMin, unsigned, old > x ? x : old)
TE_EMU_ATOMIC(atomicMin, unsigned long long, old > x ? x : old)
TE_EMU_ATOMIC(atomicMax, unsigned long long, old < x ? x : old)
TE_EMU_ATOMIC(atomicOr, int, old | x)
TE_EMU_ATOMIC(atomicOr, unsigned, old | x)
TE_EMU_ATOMIC(atomicExch, int, x)
TE_EMU_ATOMIC(atomicExch, unsigned, x)
TE_EMU_ATOMIC(atomicExch, float, x)
#undef TE_EMU_ATOMIC
inline unsigned atomicInc(unsigned* at, unsigned limit) {
  return ::te::emu::atomic(at, [limit](unsigned old) { return old >= limit ? 0 : old + 1; });
}
inline unsigned atomicCAS(unsigned* at, unsigned expected, unsigned x) {
  return ::te::emu::atomic(at, [=](unsigned old) { return old == expected ? x : old; });
}
inline int atomicCAS(int* at, int expected, int x) {
  return ::te::emu::atomic(at, [=](int old) { return old == expected ? x : old; });
}

// --- arithmetic
// -------------------------------------------------------------------------------------------------------

inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return std::sqrt(x); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline float __fadd_rn(float a, float b) {
  volatile float s = a + b;  // never contracted
  return s;
}
inline float __fmul_rn(float a, float b) {
  volatile float s = a * b;
  return s;
}
inline float __fdiv_rn(float a, float b) { return a / b; }
inline void sincospif(float x, float* sine, float* cosine) {
  *sine = static_cast<float>(std::sin(M_PI * static_cast<double>(x)));
  *cosine = static_cast<float>(std::cos(M_PI * static_cast<double>(x)));
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __saturatef(float x) { return x < 0 || x != x ? 0 : x > 1 ? 1 : x; }
inline int __float_as_int(float x) {
  int i;
  std::memcpy(&i, &x, 4);
  return i;
}
inline unsigned __float_as_uint(float x) { return static_cast<unsigned>(__float_as_int(x)); }
inline float __int_as_float(int i) {
  float x;
  std::memcpy(&x, &i, 4);
  return x;
}
inline float __uint_as_float(unsigned i) { return __int_as_float(static_cast<int>(i)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>(static_cast<uint64_t>(a) * b >> 32); }
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned n) {
  n &= 31;
  return n ? high << n | low >> (32 - n) : high;
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
  const uint64_t both = static_cast<uint64_t>(y) << 32 | x;
  unsigned r = 0;
  for (int i = 0; i < 4; ++i) r |= static_cast<unsigned>(both >> (8 * (s >> (4 * i) & 7)) & 0xff) << (8 * i);
  return r;
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
template <class T>
T __ldcs(const T* p) {
  return *p;
}
template <class T>
void __stcs(T* p, T x) {
  *p = x;
}
using std::max;
using std::min;
inline int max(int a, int b) { return a < b ? b : a; }
inline int min(int a, int b) { return b < a ? b : a; }
inline float max(float a, float b) { return std::fmax(a, b); }
inline float min(float a, float b) { return std::fmin(a, b); }

inline void __trap() { ::te::emu::fail("__trap()"); }
