// Activations and their derivatives in float32. With s the logistic function:
//   gelu(x) = x s(2c (x + 0.044715 x^3)), c = sqrt(2 / pi)   (the tanh form: 0.5 (1 + tanh z) = s(2z))
//   silu(x) = x s(x), quick_gelu(x) = x s(1.702 x), relu, squared_relu(x) = max(x, 0)^2, sigmoid, linear
//   clamped_silu(x) = g s(alpha g) with g = min(x, limit); clamped_linear(x) = clip(x, -limit, limit) + offset
// The derivative of the clamped ones is zero where they clamp. Sums of products are written as fmaf, so that all
// kernels that compute an activation get the same bits.
#pragma once
#include <type_traits>

#include "plan/activation.h"

namespace te::cuda {

// NaN stays NaN; for large -x the sum is infinite and the quotient 0.
__device__ inline float logistic(float x) { return __fdividef(1.0f, 1.0f + expf(-x)); }

// x for the part s (1 - s) x of a derivative: far out s (1 - s) is zero, and zero times infinity must not become NaN.
__device__ inline float near(float x) { return x > 1e3f ? 1e3f : x < -1e3f ? -1e3f : x; }

// s + x s (1 - s), the derivative of x s where s = logistic(x).
__device__ inline float swish_slope(float s, float x) { return fmaf(near(x) * s, 1.0f - s, s); }

constexpr float kGeluLinear = 1.59576912f, kGeluCubic = 0.0713548163f;  // 2 sqrt(2 / pi), and 0.044715 times that

__device__ inline float gelu_logistic(float x) { return logistic(x * fmaf(x * x, kGeluCubic, kGeluLinear)); }

template <Activation A>
__device__ inline float value_of(float x, const ActivationLimits& p) {
  if constexpr (A == Activation::gelu) return x * gelu_logistic(x);
  if constexpr (A == Activation::silu) return x * logistic(x);
  if constexpr (A == Activation::quick_gelu) return x * logistic(1.702f * x);
  if constexpr (A == Activation::relu) return x < 0 ? 0.0f : x;
  if constexpr (A == Activation::squared_relu) return x < 0 ? 0.0f : x * x;
  if constexpr (A == Activation::sigmoid) return logistic(x);
  if constexpr (A == Activation::clamped_silu) {
    const float g = x > p.limit ? p.limit : x;
    return g * logistic(p.alpha * g);
  }
  if constexpr (A == Activation::clamped_linear) {
    const float top = x > p.limit ? p.limit : x;
    return (top < -p.limit ? -p.limit : top) + p.offset;
  }
  return x;
}

template <Activation A>
__device__ inline float slope_of(float x, const ActivationLimits& p) {
  if constexpr (A == Activation::gelu) {
    const float s = gelu_logistic(x), n = near(x);
    return fmaf(n * s * (1.0f - s), fmaf(n * n, 3.0f * kGeluCubic, kGeluLinear), s);
  }
  if constexpr (A == Activation::silu) return swish_slope(logistic(x), x);
  if constexpr (A == Activation::quick_gelu) return swish_slope(logistic(1.702f * x), 1.702f * x);
  if constexpr (A == Activation::relu) return x > 0 ? 1.0f : 0.0f;
  if constexpr (A == Activation::squared_relu) return x < 0 ? 0.0f : 2.0f * x;
  if constexpr (A == Activation::sigmoid) {
    const float s = logistic(x);
    return s * (1.0f - s);
  }
  if constexpr (A == Activation::clamped_silu)
    return x > p.limit ? 0.0f : swish_slope(logistic(p.alpha * x), p.alpha * x);
  if constexpr (A == Activation::clamped_linear) return x <= p.limit && x >= -p.limit ? 1.0f : 0.0f;
  return 1.0f;
}

// body(std::integral_constant<Activation, a>) for the run-time value a.
template <class Body>
__device__ inline void with_activation(Activation a, const Body& body) {
  switch (a) {
#define TE_CASE(name)    \
  case Activation::name: \
    return body(std::integral_constant<Activation, Activation::name>())
    TE_CASE(linear);
    TE_CASE(gelu);
    TE_CASE(silu);
    TE_CASE(relu);
    TE_CASE(quick_gelu);
    TE_CASE(squared_relu);
    TE_CASE(sigmoid);
    TE_CASE(clamped_silu);
    TE_CASE(clamped_linear);
#undef TE_CASE
  }
}

// y = act(x), or y *= act(x), for N elements.
template <int N>
__device__ inline void apply_values(Activation a, const float (&x)[N], const ActivationLimits& p, bool multiply,
                                    float (&y)[N]) {
  with_activation(a, [&](auto act) {
#pragma unroll
    for (int k = 0; k < N; ++k) {
      const float value = value_of<act()>(x[k], p);
      y[k] = multiply ? y[k] * value : value;
    }
  });
}

template <int N>
__device__ inline void apply_slopes(Activation a, const float (&x)[N], const ActivationLimits& p, float (&y)[N]) {
  with_activation(a, [&](auto act) {
#pragma unroll
    for (int k = 0; k < N; ++k) y[k] = slope_of<act()>(x[k], p);
  });
}

}  // namespace te::cuda
