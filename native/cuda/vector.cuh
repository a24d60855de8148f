// Neighbouring elements that move in one access.
#pragma once

namespace te::cuda {

template <class T, int kLength>
struct alignas(sizeof(T) * kLength) Vector {
  T at[kLength];
};

// Of 16 bytes, the widest access.
template <class T>
inline constexpr int kWidest = 16 / static_cast<int>(sizeof(T));

template <int kLength, class T>
__device__ inline Vector<T, kLength> load_vector(const T* from) {
  return *reinterpret_cast<const Vector<T, kLength>*>(from);
}
template <class T, int kLength>
__device__ inline void store_vector(const Vector<T, kLength>& x, T* to) {
  *reinterpret_cast<Vector<T, kLength>*>(to) = x;
}

// The first `count` of them.
template <class T, int kLength>
__device__ inline Vector<T, kLength> load_part(const T* from, int count) {
  if (count >= kLength) return load_vector<kLength>(from);
  Vector<T, kLength> x;
#pragma unroll
  for (int i = 0; i < kLength; ++i) x.at[i] = i < count ? from[i] : T{};
  return x;
}
template <class T, int kLength>
__device__ inline void store_part(const Vector<T, kLength>& x, T* to, int count) {
  if (count >= kLength) return store_vector(x, to);
#pragma unroll
  for (int i = 0; i < kLength; ++i)
    if (i < count) to[i] = x.at[i];
}

// How many of the elements from `first` on a part may have.
template <class Index>
__device__ inline int left_of(Index total, Index first) {
  const Index left = total - first;
  return left < 1024 ? static_cast<int>(left) : 1024;
}

}  // namespace te::cuda
