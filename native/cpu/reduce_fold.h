// The four reductions on rows. Floats are read as float32 and collected in double; integers are int64 throughout, so
// that sums and products wrap as 32-bit ones do when they are cut at the end.
#pragma once
#include <cstdint>
#include <limits>
#include <type_traits>

#include "cpu/rows.h"
#include "cpu/simd/lane_math.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

enum class Fold { sum, prod, max, min };

template <class T>
using Wide = std::conditional_t<std::is_same_v<T, float>, double, int64_t>;

// a combined with x. The extremes keep NaN once they met one.
template <Fold F, class T>
inline T fold(T a, T x) {
  if constexpr (F == Fold::sum) return a + x;
  if constexpr (F == Fold::prod) return a * x;
  if constexpr (F == Fold::max) return (x > a) | (x != x) ? x : a;
  if constexpr (F == Fold::min) return (x < a) | (x != x) ? x : a;
}

// int64 arithmetic that may wrap.
template <>
inline int64_t fold<Fold::sum, int64_t>(int64_t a, int64_t x) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(x));
}
template <>
inline int64_t fold<Fold::prod, int64_t>(int64_t a, int64_t x) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(x));
}

// The result over nothing.
template <Fold F, class W>
inline W fold_initial(DType type) {
  if (F == Fold::sum) return 0;
  if (F == Fold::prod) return 1;
  if constexpr (std::is_same_v<W, int64_t>) {
    if (F == Fold::max) return type == DType::int32 ? std::numeric_limits<int32_t>::min() : 0;
    return type == DType::int32    ? std::numeric_limits<int32_t>::max()
           : type == DType::uint32 ? std::numeric_limits<uint32_t>::max()
           : type == DType::uint8  ? 255
                                   : 1;
  } else {
    return F == Fold::max ? -std::numeric_limits<W>::infinity() : std::numeric_limits<W>::infinity();
  }
}

// All of a row. The extremes look for NaN apart, because a maximum of vectors passes it over.
template <Fold F>
inline double fold_row(const float* x, int64_t n) {
  if constexpr (F == Fold::sum) {
    double total;
    accumulate<1>(n, &total, [=](int64_t i, auto* s) { s[0] += lanes_at<std::decay_t<decltype(*s)>>(x + i); });
    return total;
  } else if constexpr (F == Fold::prod) {
    double product = 1;
#pragma omp simd reduction(* : product)
    for (int64_t i = 0; i < n; ++i) product *= static_cast<double>(x[i]);
    return product;
  } else {
    // The least of x is -(the largest of -x). NaN is the only number whose magnitude's bits exceed those of infinity.
    const auto turned = [](auto v) { return F == Fold::max ? v : -v; };
    Lanes most[4];
    LaneBits largest[4] = {};
    for (Lanes& m : most) m = Lanes{} - std::numeric_limits<float>::infinity();
    int64_t i = 0;
    for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) {
        const Lanes v = turned(lanes_at<Lanes>(x + i + u * kLanes));
        const LaneBits magnitude = reinterpret_cast<LaneBits>(v) & 0x7fffffffu;
        most[u] = larger_of(v, most[u]);
        largest[u] = magnitude > largest[u] ? magnitude : largest[u];
      }
    }
    float result = largest_lane(larger_of(larger_of(most[0], most[1]), larger_of(most[2], most[3])));
    for (; i < n; ++i) result = fold<Fold::max, float>(result, turned(x[i]));
    uint32_t bits = 0;
    for (const LaneBits& four : largest)
      for (int lane = 0; lane < kLanes; ++lane) bits = std::max<uint32_t>(bits, four[lane]);
    if (bits > 0x7f800000u) return std::numeric_limits<double>::quiet_NaN();
    result = turned(result);
    return static_cast<double>(result);
  }
}

template <Fold F>
inline int64_t fold_row(const int64_t* x, int64_t n) {
  int64_t result = x[0];
  for (int64_t i = 1; i < n; ++i) result = fold<F, int64_t>(result, x[i]);
  return result;
}

// A result as it is stored: of 0 and -0 the extremes would give that which their order happens to meet, so they give 0.
template <Fold F, class W>
inline W settled(W result) {
  if constexpr ((F == Fold::max || F == Fold::min) && std::is_same_v<W, double>) return result + 0.0;
  return result;
}

// to[i] = fold(to[i], x[i]).
template <Fold F, class A, class X>
inline void fold_columns(const X* x, int64_t n, A* to) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] = fold<F, A>(to[i], static_cast<A>(x[i]));
}

// Rows of either kind: floats decoded, integers widened.
inline const float* fold_in(DType type, const void* base, int64_t first, int64_t n, float* buffer) {
  return row_in(type, base, first, n, buffer);
}
template <class I>
inline void widen_row(const void* from, int64_t n, int64_t* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = static_cast<const I*>(from)[i];
}
inline const int64_t* fold_in(DType type, const void* base, int64_t first, int64_t n, int64_t* buffer) {
  const void* from = at(type, base, first);
  if (type == DType::int32) {
    widen_row<int32_t>(from, n, buffer);
  } else if (type == DType::uint32) {
    widen_row<uint32_t>(from, n, buffer);
  } else {
    widen_row<uint8_t>(from, n, buffer);
  }
  return buffer;
}

inline void fold_out(DType type, const double* from, int64_t n, void* base, int64_t first) {
  constexpr int64_t kPiece = 256;
  float row[kPiece];
  for (int64_t i = 0; i < n; i += kPiece) {
    const int64_t length = std::min(kPiece, n - i);
    for (int64_t k = 0; k < length; ++k) row[k] = static_cast<float>(from[i + k]);
    store_row(type, row, length, at(type, base, first + i));
  }
}
inline void fold_out(DType type, const int64_t* from, int64_t n, void* base, int64_t first) {
  char* to = at(type, base, first);
  for (int64_t i = 0; i < n; ++i) {
    if (dtype_bytes(type) == 4) {
      reinterpret_cast<uint32_t*>(to)[i] = static_cast<uint32_t>(from[i]);
    } else {
      reinterpret_cast<uint8_t*>(to)[i] = static_cast<uint8_t>(from[i]);
    }
  }
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
