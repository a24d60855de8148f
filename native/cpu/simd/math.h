// Elementary functions of one float, written without branches and library calls so that loops over them vectorise
// (put `#pragma omp simd` on the loop). Accuracy is within about 2 units in the last place unless a comment says
// otherwise; NaN gives NaN; infinities and zeros follow C99.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {
namespace TE_ISA_NAMESPACE {

namespace simd_detail {
inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
inline constexpr float kRoundMagic = 12582912.0f;  // 1.5 * 2^23: x + magic has round(x) in its low mantissa bits
inline uint32_t bits(float x) { return std::bit_cast<uint32_t>(x); }
inline float from_bits(uint32_t u) { return std::bit_cast<float>(u); }
inline float magnitude(float x) { return from_bits(bits(x) & 0x7fffffffu); }
inline float with_sign(float x, float sign) { return from_bits((bits(x) & 0x7fffffffu) | (bits(sign) & 0x80000000u)); }
// 2^n for n in [-126, 127].
inline float power_of_two(int32_t n) { return from_bits(static_cast<uint32_t>(n + 127) << 23); }

// x = n ln2 + r with |r| <= ln2 / 2. NaN leaves n undefined and r NaN.
struct Reduced {
  float r;
  int32_t n;
};
inline Reduced reduce_ln2(float x) {
  const float shifted = x * 1.44269504f + kRoundMagic;
  const float n = shifted - kRoundMagic;
  const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  return {r, static_cast<int32_t>(bits(shifted) - bits(kRoundMagic))};
}

// (e^r - 1 - r) / r^2 on [-ln2/2, ln2/2].
inline float exp_tail(float r) {
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  return p * r + 0.5f;
}
}  // namespace simd_detail

inline float simd_exp(float x) {
  using namespace simd_detail;
  float c = x > 89.0f ? 89.0f : x;
  c = c < -104.0f ? -104.0f : c;
  const Reduced a = reduce_ln2(c);
  const float p = exp_tail(a.r) * (a.r * a.r) + a.r + 1.0f;
  const int32_t half = a.n >> 1;  // two factors, so that results below 2^-126 are rounded once and not flushed
  return p * power_of_two(half) * power_of_two(a.n - half);
}

inline float simd_log(float x) {
  using namespace simd_detail;
  const bool tiny = x < 1.17549435e-38f;
  const uint32_t u = bits(tiny ? x * 8388608.0f : x);
  // m in [sqrt(1/2), sqrt(2)): subtract the bits of sqrt(1/2) so that the exponent field counts from there.
  const uint32_t shifted = u - 0x3f3504f3u;
  const int32_t e = static_cast<int32_t>(shifted) >> 23;
  const float f = from_bits((shifted & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  const float n = static_cast<float>(e) - (tiny ? 23.0f : 0.0f);
  const float z = f * f;
  float p = 7.0376836292e-2f;
  p = p * f - 1.1514610310e-1f;
  p = p * f + 1.1676998740e-1f;
  p = p * f - 1.2420140846e-1f;
  p = p * f + 1.4249322787e-1f;
  p = p * f - 1.6668057665e-1f;
  p = p * f + 2.0000714765e-1f;
  p = p * f - 2.4999993993e-1f;
  p = p * f + 3.3333331174e-1f;
  float y = p * f * z;
  y = n * -2.12194440e-4f + y;
  y = y - 0.5f * z;
  float result = (f + y) + n * 0.693359375f;
  result = x == kInf ? kInf : result;
  result = x == 0.0f ? -kInf : result;
  return x < 0.0f || x != x ? kNan : result;
}

// log(1 + x) with the rounding error of 1 + x put back.
inline float simd_log1p(float x) {
  using namespace simd_detail;
  const float u = 1.0f + x;
  const float lost = x - (u - 1.0f);
  const float y = simd_log(u) + lost / u;
  const float result = u == 1.0f ? x : y;
  return u == 0.0f || u == kInf ? simd_log(u) : result;
}

inline float simd_expm1(float x) {
  using namespace simd_detail;
  float c = x > 89.0f ? 89.0f : x;
  c = c < -18.0f ? -18.0f : c;
  const Reduced a = reduce_ln2(c);
  const float p = exp_tail(a.r) * (a.r * a.r) + a.r;
  const float s = power_of_two(a.n - 1);  // half of 2^n: 2^128 would overflow
  const float y = 2.0f * (s * p + (s - 0.5f));
  return with_sign(magnitude(x) < 1e-30f ? x : y, x);
}

inline float simd_tanh(float x) {
  using namespace simd_detail;
  const float a = magnitude(x);
  const float e = simd_expm1(2.0f * (a > 10.0f ? 10.0f : a));
  return with_sign(e / (e + 2.0f), x);
}

inline float simd_sigmoid(float x) { return 1.0f / (1.0f + simd_exp(-x)); }

inline float simd_erf(float x) {
  using namespace simd_detail;
  const float a = magnitude(x), s = x * x;
  float p = -1.72853470e-5f * a + 3.83197126e-4f;
  const float q = -3.88396438e-3f * a + 2.42546219e-2f;
  p = p * s + q;
  p = p * a - 1.06777877e-1f;
  p = p * a - 6.34846687e-1f;
  p = p * a - 1.28717512e-1f;
  p = p * a - a;
  const float large = with_sign(1.0f - simd_exp(a > 4.0f ? -100.0f : p), x);
  float r = -5.96761703e-4f;
  r = r * s + 4.99119423e-3f;
  r = r * s - 2.67681349e-2f;
  r = r * s + 1.12819925e-1f;
  r = r * s - 3.76125336e-1f;
  r = r * s + 1.28379166e-1f;
  const float small = r * x + x;
  const float y = a > 0.921875f ? large : small;
  return x == x ? y : x;
}

namespace simd_detail {
// Polynomials by fused multiply-adds, which no compiler flag may split or join with other operations.
template <typename... Rest>
inline float fused_horner(float x, float first, Rest... rest) {
  float y = first;
  ((y = __builtin_fmaf(y, x, rest)), ...);
  return y;
}

// log(x) of a positive normal number with the bits of XLA on a CPU: Cephes' polynomial in three interleaved cubics.
inline __attribute__((always_inline)) float xla_log(float x) {
  const uint32_t shifted = bits(x) - 0x3f3504f3u;
  const float e = static_cast<float>(static_cast<int32_t>(shifted) >> 23);
  const float m = from_bits((shifted & 0x007fffffu) + 0x3f3504f3u) - 1.0f;
  const float square = m * m, cube = square * m;
  float y = fused_horner(m, 7.0376836292e-2f, -1.151461031e-1f, 1.167699874e-1f);
  y = __builtin_fmaf(y, cube, fused_horner(m, -1.2420140846e-1f, 1.4249322787e-1f, -1.6668057665e-1f));
  y = __builtin_fmaf(y, cube, fused_horner(m, 2.0000714765e-1f, -2.4999993993e-1f, 3.3333331174e-1f));
  y = __builtin_fmaf(y, cube, -2.1219444e-4f * e);
  return __builtin_fmaf(0.693359375f, e, __builtin_fmaf(-0.5f, square, m) + y);
}

// log(1 + x) for -1 < x <= 0, as XLA: Cephes' quotient where |x| < sqrt(2) - 1.
inline __attribute__((always_inline)) float xla_log1p(float x) {
  const float square = x * x;
  const float p = fused_horner(x, 4.52700008624452e-5f, 0.49854102823193375f, 6.578732594206104f, 29.911919328553072f,
                               60.94966798098779f, 57.11296359058554f, 20.039553499201283f);
  const float q = fused_horner(x, 1.0f, 15.062909083469192f, 83.04756596796722f, 221.76239823732857f,
                               309.09872225312057f, 216.42788614495947f, 60.11866049760384f);
  const float small = x + __builtin_fmaf(-0.5f, square, (x * square) * (p / q));
  const float large = xla_log(1.0f + x);
  return magnitude(x) < 0.414213568f ? small : large;
}
}  // namespace simd_detail

// M. Giles, "Approximating the erfinv function", with the bits of XLA on a CPU, of which JAX makes its random normals.
// ±1 gives ±infinity; outside [-1, 1] NaN.
inline __attribute__((always_inline)) float simd_erf_inv(float x) {
  using namespace simd_detail;
  const float w = -xla_log1p(__builtin_fmaf(-x, x, -0.0f));
  const bool central = w < 5.0f;
  const float t = central ? w - 2.5f : std::sqrt(w) - 3.0f;
  const float p = fused_horner(t, central ? 2.81022636e-08f : -0.000200214257f,
                               central ? 3.43273939e-07f : 0.000100950558f, central ? -3.5233877e-06f : 0.00134934322f,
                               central ? -4.39150654e-06f : -0.00367342844f, central ? 0.00021858087f : 0.00573950773f,
                               central ? -0.00125372503f : -0.0076224613f, central ? -0.00417768164f : 0.00943887047f,
                               central ? 0.246640727f : 1.00167406f, central ? 1.50140941f : 2.83297682f);
  const float inside = x == 0.0f ? x : p * x;
  const float edge = magnitude(x) == 1.0f ? x * kInf : kNan;
  return magnitude(x) < 1.0f ? inside : edge;
}

namespace simd_detail {
// x = n pi/2 + r, in double; good for |x| <= 2^20.
struct Angle {
  double r;
  int32_t n;
};
inline Angle reduce_half_pi(float x) {
  const double magic = 6755399441055744.0;  // 1.5 * 2^52
  const double wide = x;
  const double shifted = wide * 0.63661977236758134308 + magic;
  const double n = shifted - magic;
  const double r = (wide - n * 1.57079632673412561417) - n * 6.07710050650619224932e-11;
  return {r, static_cast<int32_t>(static_cast<uint32_t>(std::bit_cast<uint64_t>(shifted)))};
}
inline float sine_of(Angle a) {
  const double z = a.r * a.r;
  const double s = a.r + a.r * z * (-1.66666666640e-1 + z * (8.33333215e-3 + z * (-1.98398e-4 + z * 2.7e-6)));
  const double c = 1.0 + z * (-0.5 + z * (4.16666666e-2 + z * (-1.388887e-3 + z * 2.4766e-5)));
  const double y = a.n & 1 ? c : s;
  return static_cast<float>(a.n & 2 ? -y : y);
}
}  // namespace simd_detail

// For |x| <= 2^20; beyond, accuracy is lost (use std::sin of the double). Infinities give NaN.
inline float simd_sin(float x) {
  using namespace simd_detail;
  const float y = sine_of(reduce_half_pi(x));
  return x == 0.0f ? x : (magnitude(x) < kInf ? y : kNan);
}

inline float simd_cos(float x) {
  using namespace simd_detail;
  Angle a = reduce_half_pi(x);
  a.n = static_cast<int32_t>(static_cast<uint32_t>(a.n) + 1u);
  const float y = sine_of(a);
  return magnitude(x) < kInf ? y : kNan;
}

// Rounding to whole numbers. 2^23 and more are whole already.
inline float simd_round(float x) {  // ties to even
  using namespace simd_detail;
  const float a = magnitude(x);
  const float y = (a + 8388608.0f) - 8388608.0f;
  return a < 8388608.0f ? with_sign(y, x) : x;
}
inline float simd_floor(float x) {
  const float y = simd_round(x);
  return simd_detail::with_sign(y > x ? y - 1.0f : y, x);
}
inline float simd_ceil(float x) {
  const float y = simd_round(x);
  return simd_detail::with_sign(y < x ? y + 1.0f : y, x);
}

// x^y = 2^(y log2|x|) in double, then the sign and the special cases of C99.
inline float simd_pow(float x, float y) {
  using namespace simd_detail;
  const float ax = magnitude(x);
  const uint64_t u = std::bit_cast<uint64_t>(static_cast<double>(ax));
  const uint64_t shifted = u - 0x3fe6a09e00000000ull;  // sqrt(1/2)
  const double e = static_cast<double>(static_cast<int32_t>(static_cast<uint32_t>(shifted >> 32)) >> 20);
  const double m = std::bit_cast<double>((shifted & 0x000fffffffffffffull) + 0x3fe6a09e00000000ull);
  const double s = (m - 1.0) / (m + 1.0), z = s * s;
  double p = 1.0 / 13.0;
  p = p * z + 1.0 / 11.0;
  p = p * z + 1.0 / 9.0;
  p = p * z + 1.0 / 7.0;
  p = p * z + 1.0 / 5.0;
  p = p * z + 1.0 / 3.0;
  p = p * z + 1.0;
  double log2x = e + 2.88539008177792681472 * (s * p);
  log2x = ax == 0.0f ? -1.0e300 : log2x;
  log2x = ax == kInf ? 1.0e300 : log2x;
  double t = static_cast<double>(y) * log2x;
  t = t > 200.0 ? 200.0 : t;
  t = t < -200.0 ? -200.0 : t;
  const double magic = 6755399441055744.0;
  const double rounded = t + magic;
  const double r = (t - (rounded - magic)) * 0.69314718055994530942;
  double q = 1.0 / 362880.0;
  q = q * r + 1.0 / 40320.0;
  q = q * r + 1.0 / 5040.0;
  q = q * r + 1.0 / 720.0;
  q = q * r + 1.0 / 120.0;
  q = q * r + 1.0 / 24.0;
  q = q * r + 1.0 / 6.0;
  q = q * r + 0.5;
  q = q * r + 1.0;
  q = q * r + 1.0;
  const uint64_t exponent = (std::bit_cast<uint64_t>(rounded) + 1023ull) << 52;
  const float power = static_cast<float>(q * std::bit_cast<double>(exponent));

  // & and | instead of && and ||: a branch would keep the loop from vectorising.
  const float ay = magnitude(y), half = 0.5f * y;
  const bool integer = simd_round(y) == y;
  const uint32_t odd = integer & (simd_round(half) != half) ? 0x80000000u : 0u;
  const uint32_t negative = bits(x) & 0x80000000u;
  float result = from_bits(bits(power) ^ (negative & odd));
  result = (negative != 0) & !integer & (ax != 0.0f) & (ax != kInf) ? kNan : result;
  result = (x != x) | (y != y) ? kNan : result;
  result = (ax == 1.0f) & (ay == kInf) ? 1.0f : result;
  return (y == 0.0f) | (x == 1.0f) ? 1.0f : result;
}

}  // namespace TE_ISA_NAMESPACE
}  // namespace te
