// The instructions of the elementwise kernel: loops over rows in the first-level cache. A register is a row of float
// (all float formats, already rounded to their dtype) or of 32-bit integers (int32, uint32, uint8 and bool).
#pragma once
#include <cmath>
#include <cstdint>
#include <string>

#include "cpu/simd/convert.h"
#include "cpu/simd/math.h"

namespace te {
namespace TE_ISA_NAMESPACE {

// out may be one of the operands.
using RowFunction = void (*)(const void* a, const void* b, const void* c, void* out, int64_t n);

namespace rows {

template <bool kBfloat16>
inline float rounded(float x) {
  return kBfloat16 ? round_bfloat16(x) : x;
}

template <auto F, bool kBfloat16>
void float_unary(const void* a, const void*, const void*, void* out, int64_t n) {
  const float* x = static_cast<const float*>(a);
  float* y = static_cast<float*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = rounded<kBfloat16>(F(x[i]));
}

template <auto F, bool kBfloat16>
void float_binary(const void* a, const void* b, const void*, void* out, int64_t n) {
  const float *x = static_cast<const float*>(a), *z = static_cast<const float*>(b);
  float* y = static_cast<float*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = rounded<kBfloat16>(F(x[i], z[i]));
}

// One operand and result of 32 bits each, of any kind.
template <class From, class To, auto F>
void unary(const void* a, const void*, const void*, void* out, int64_t n) {
  const From* x = static_cast<const From*>(a);
  To* y = static_cast<To*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = F(x[i]);
}

template <class From, class To, auto F>
void binary(const void* a, const void* b, const void*, void* out, int64_t n) {
  const From *x = static_cast<const From*>(a), *z = static_cast<const From*>(b);
  To* y = static_cast<To*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = F(x[i], z[i]);
}

inline void select(const void* a, const void* b, const void* c, void* out, int64_t n) {
  const int32_t* condition = static_cast<const int32_t*>(a);
  const uint32_t *x = static_cast<const uint32_t*>(b), *z = static_cast<const uint32_t*>(c);
  uint32_t* y = static_cast<uint32_t*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = condition[i] != 0 ? x[i] : z[i];
}

inline void move(const void* a, const void*, const void*, void* out, int64_t n) {
  if (a != out) std::memmove(out, a, static_cast<size_t>(n) * 4);
}

// Angles beyond 2^20 are rare and go through the library in double.
template <auto F, double (*Exact)(double), bool kBfloat16>
void periodic(const void* a, const void*, const void*, void* out, int64_t n) {
  const float* x = static_cast<const float*>(a);
  float* y = static_cast<float*>(out);
  int any = 0;
#pragma omp simd reduction(| : any)
  for (int64_t i = 0; i < n; ++i) any |= std::fabs(x[i]) > 1048576.0f;
  if (any) {
    for (int64_t i = 0; i < n; ++i) y[i] = rounded<kBfloat16>(static_cast<float>(Exact(x[i])));
    return;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = rounded<kBfloat16>(F(x[i]));
}

// --- integers ------------------------------------------------------------------------------------------------------
// Arithmetic wraps around; division by zero and the other undefined cases of C++ have XLA's results.
using I = int32_t;
using U = uint32_t;
inline constexpr auto add = [](U a, U b) { return a + b; };
inline constexpr auto sub = [](U a, U b) { return a - b; };
inline constexpr auto mul = [](U a, U b) { return a * b; };
inline constexpr auto div_signed = [](I a, I b) {
  const bool bad = b == 0 || (b == -1 && a == INT32_MIN);
  return bad ? (b == 0 ? -1 : a) : a / (bad ? 1 : b);
};
inline constexpr auto rem_signed = [](I a, I b) {
  const bool bad = b == 0 || b == -1;
  return bad ? (b == 0 ? a : 0) : a % (bad ? 1 : b);
};
inline constexpr auto div_unsigned = [](U a, U b) { return b == 0 ? ~U{0} : a / (b == 0 ? 1 : b); };
inline constexpr auto rem_unsigned = [](U a, U b) { return b == 0 ? a : a % (b == 0 ? 1 : b); };
inline constexpr auto shift_left = [](U a, U b) { return b < 32 ? a << (b & 31) : 0; };
inline constexpr auto shift_right_signed = [](I a, U b) { return a >> (b < 32 ? b : 31); };
inline constexpr auto shift_right_unsigned = [](U a, U b) { return b < 32 ? a >> (b & 31) : 0; };

template <class T>
inline constexpr auto power = [](T base, T exponent) {
  if (exponent < 0) return static_cast<T>(base == 1 ? 1 : base == static_cast<T>(-1) ? (exponent & 1 ? -1 : 1) : 0);
  U result = 1, square = static_cast<U>(base);
  for (U n = static_cast<U>(exponent); n != 0; n >>= 1, square *= square)
    if (n & 1) result *= square;
  return static_cast<T>(result);
};

inline void shift_right_signed_row(const void* a, const void* b, const void*, void* out, int64_t n) {
  const I* x = static_cast<const I*>(a);
  const U* z = static_cast<const U*>(b);
  I* y = static_cast<I*>(out);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = shift_right_signed(x[i], z[i]);
}

// --- tables --------------------------------------------------------------------------------------------------------
struct FloatEntry {
  const char* name;
  RowFunction plain, bfloat16;
};
#define TE_UNARY(name, ...)                                                                                           \
  {                                                                                                                   \
#name, &float_unary <                                                                                             \
               [](float x) -> float { return (__VA_ARGS__); }, false>,                                                \
                                                            &float_unary <                                            \
                                                                [](float x) -> float { return (__VA_ARGS__); }, true> \
  }
#define TE_BINARY(name, ...)                                                                                          \
  {                                                                                                                   \
#name, &float_binary <                                                                                            \
               [](float a,                                                                                            \
                  float b) -> float { return (__VA_ARGS__); }, false>,                                                \
                                                            &float_binary <                                           \
                                                                [](float a,                                           \
                                                                   float b) -> float { return (__VA_ARGS__); }, true> \
  }

inline const FloatEntry kFloatUnary[] = {
    TE_UNARY(neg, -x),
    TE_UNARY(abs, std::fabs(x)),
    TE_UNARY(sign, x > 0.0f ? 1.0f : (x < 0.0f ? -1.0f : x)),
    TE_UNARY(square, x* x),
    TE_UNARY(exp, simd_exp(x)),
    TE_UNARY(log, simd_log(x)),
    TE_UNARY(log1p, simd_log1p(x)),
    TE_UNARY(expm1, simd_expm1(x)),
    TE_UNARY(sqrt, std::sqrt(x)),
    TE_UNARY(rsqrt, 1.0f / std::sqrt(x)),
    TE_UNARY(tanh, simd_tanh(x)),
    TE_UNARY(sigmoid, simd_sigmoid(x)),
    TE_UNARY(erf, simd_erf(x)),
    TE_UNARY(erf_inv, simd_erf_inv(x)),
    TE_UNARY(floor, simd_floor(x)),
    TE_UNARY(ceil, simd_ceil(x)),
    TE_UNARY(round, simd_round(x)),
    {"sin", &periodic<[](float x) { return simd_sin(x); }, &std::sin, false>,
     &periodic<[](float x) { return simd_sin(x); }, &std::sin, true>},
    {"cos", &periodic<[](float x) { return simd_cos(x); }, &std::cos, false>,
     &periodic<[](float x) { return simd_cos(x); }, &std::cos, true>},
};

inline const FloatEntry kFloatBinary[] = {
    TE_BINARY(add, a + b),
    TE_BINARY(sub, a - b),
    TE_BINARY(mul, a* b),
    TE_BINARY(div, a / b),
    TE_BINARY(pow, simd_pow(a, b)),
    TE_BINARY(maximum, (a > b || a != a ? a : b) + 0.0f),  // 0, not -0, whatever the order
    TE_BINARY(minimum, (a < b || a != a ? a : b) + 0.0f),
    TE_BINARY(rem, std::fmod(a, b)),
};
#undef TE_UNARY
#undef TE_BINARY

struct IntegerEntry {
  const char* name;
  RowFunction is_signed, is_unsigned;
};
#define TE_BOTH(name, ...)                                                                                        \
  {                                                                                                               \
#name, &binary < I, I, [](I a, I b) -> I { return (__VA_ARGS__); }>, &binary < U, U,                          \
                                                                     [](U a, U b) -> U { return (__VA_ARGS__); }> \
  }
inline const IntegerEntry kIntegerBinary[] = {
    {"add", &binary<U, U, add>, &binary<U, U, add>},
    {"sub", &binary<U, U, sub>, &binary<U, U, sub>},
    {"mul", &binary<U, U, mul>, &binary<U, U, mul>},
    {"div", &binary<I, I, div_signed>, &binary<U, U, div_unsigned>},
    {"rem", &binary<I, I, rem_signed>, &binary<U, U, rem_unsigned>},
    {"pow", &binary<I, I, power<I>>, &binary<U, U, power<U>>},
    {"shift_left", &binary<U, U, shift_left>, &binary<U, U, shift_left>},
    {"shift_right", &shift_right_signed_row, &binary<U, U, shift_right_unsigned>},
    TE_BOTH(maximum, a > b ? a : b),
    TE_BOTH(minimum, a < b ? a : b),
    TE_BOTH(and, a& b),
    TE_BOTH(or, a | b),
    TE_BOTH(xor, a ^ b),
};
#undef TE_BOTH

struct CompareEntry {
  const char* name;
  RowFunction is_float, is_signed, is_unsigned;
};
#define TE_COMPARE(name, operation)                                                                                    \
  {                                                                                                                    \
#name, &binary < float, I,                                                                                         \
        [](float a, float b)                                                                                           \
             -> I { return (a operation b); }>, &binary < I, I,                                                        \
                                            [](I a, I b)                                                               \
                                                 -> I { return (a operation b); }>, &binary < U, I,                    \
                                                                                [](U a, U b)                           \
                                                                                     -> I { return (a operation b); }> \
  }
inline const CompareEntry kCompare[] = {TE_COMPARE(eq, ==), TE_COMPARE(ne, !=), TE_COMPARE(lt, <),
                                        TE_COMPARE(le, <=), TE_COMPARE(gt, >),  TE_COMPARE(ge, >=)};
#undef TE_COMPARE

inline const IntegerEntry kIntegerUnary[] = {
    {"neg", &unary<U, U, [](U a) -> U { return 0 - a; }>, &unary<U, U, [](U a) -> U { return 0 - a; }>},
    {"abs", &unary<I, U, [](I a) -> U { return a < 0 ? 0 - static_cast<U>(a) : static_cast<U>(a); }>, &move},
    {"sign", &unary<I, I, [](I a) -> I { return ((a > 0) - (a < 0)); }>, &unary<U, U, [](U a) -> U { return a != 0; }>},
    {"square", &unary<U, U, [](U a) -> U { return a * a; }>, &unary<U, U, [](U a) -> U { return a * a; }>},
    {"not", &unary<U, U, [](U a) -> U { return ~a; }>, &unary<U, U, [](U a) -> U { return ~a; }>},
    {"floor", &move, &move},
    {"ceil", &move, &move},
    {"round", &move, &move},
};

template <class Entry, size_t N>
const Entry* find(const Entry (&table)[N], const std::string& name) {
  for (const Entry& entry : table)
    if (name == entry.name) return &entry;
  return nullptr;
}

}  // namespace rows
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
