// What the kernels of fused elementwise code are given, and how they find and move elements: the interpreter's and
// those that are compiled at run time. Needs no other header.
#pragma once

namespace te::cuda::element {

constexpr int kMaxInputs = 16, kMaxOutputs = 96, kMaxDims = 16;

// Division of numbers below 2^31 by a multiplication. (Division by invariant integers, Granlund and Montgomery.)
struct Divisor {
  long long size;
  unsigned factor, shift;
};
__device__ inline unsigned divide(unsigned n, const Divisor& by) { return (__umulhi(n, by.factor) + n) >> by.shift; }
__device__ inline long long divide(long long n, const Divisor& by) { return n / by.size; }

struct Arguments {
  const void* in[kMaxInputs];
  void* out[kMaxOutputs];
  long long total;                         // elements of an output
  Divisor dims[kMaxDims];                  // of the output, merged as far as all inputs allow
  long long stride[kMaxInputs][kMaxDims];  // of the inputs that are repeated
};

// N elements of a format's codes, moved in pieces of up to 16 bytes.
template <class T, int N>
struct alignas(sizeof(T) * N < 16 ? sizeof(T) * N : 16) Pack {
  T at[N];
};
template <class T, int N>
__device__ inline Pack<T, N> load(const void* from, long long first) {
  return *reinterpret_cast<const Pack<T, N>*>(static_cast<const T*>(from) + first);
}
template <class T, int N>
__device__ inline Pack<T, N> load(const void* from, long long first, int valid) {
  Pack<T, N> x;
#pragma unroll
  for (int e = 0; e < N; ++e) x.at[e] = e < valid ? static_cast<const T*>(from)[first + e] : T{0};
  return x;
}
template <class T, int N>
__device__ inline void store(void* to, long long first, const Pack<T, N>& x) {
  *reinterpret_cast<Pack<T, N>*>(static_cast<T*>(to) + first) = x;
}
template <class T, int N>
__device__ inline void store(void* to, long long first, const Pack<T, N>& x, int valid) {
#pragma unroll
  for (int e = 0; e < N; ++e)
    if (e < valid) static_cast<T*>(to)[first + e] = x.at[e];
}

}  // namespace te::cuda::element
