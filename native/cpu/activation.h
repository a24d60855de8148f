// Activations and their derivatives in float32, one row at a time, and the product over the slots of u [..., A, F]:
//   y[f] = act_0(u[0, f]) act_1(u[1, f]) ... act_{A-1}(u[A-1, f])
// With s the logistic function:
//   gelu(x) = x s(2c (x + 0.044715 x^3)), c = sqrt(2 / pi)   (the tanh form: 0.5 (1 + tanh z) = s(2z))
//   silu(x) = x s(x), quick_gelu(x) = x s(1.702 x), relu, squared_relu(x) = max(x, 0)^2, sigmoid, linear
//   clamped_silu(x) = g s(alpha g) with g = min(x, limit); clamped_linear(x) = clip(x, -limit, limit) + offset
// The derivative of the clamped ones is zero where they clamp.
#pragma once
#include <type_traits>

#include "cpu/rows.h"
#include "cpu/simd/lane_pairs.h"
#include "plan/activation.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

struct Pair {
  Lanes value, slope;
};

// x for the part s (1 - s) x of a derivative: far out s (1 - s) is zero, and zero times infinity must not become NaN.
inline Lanes near_lanes(Lanes x) { return larger_of(smaller_of(x, 1e3f), Lanes{} - 1e3f); }

// Value and derivative of one activation, exact enough for results of type T. What the caller does not use is not
// computed.
template <Activation A, DType T>
inline __attribute__((always_inline)) Pair activate(Lanes x, const ActivationLimits& p) {
  const Lanes zero = {}, one = zero + 1.0f;
  if constexpr (A == Activation::gelu) {
    const float c = 1.59576912f, d = 0.0713548163f;  // 2 sqrt(2 / pi), and 0.044715 times that
    const Lanes s = sigmoid_lanes<T>(x * (x * x * d + c)), near = near_lanes(x);
    return {x * s, s + near * s * (1.0f - s) * (near * near * (3.0f * d) + c)};
  } else if constexpr (A == Activation::silu) {
    const Lanes s = sigmoid_lanes<T>(x);
    return {x * s, s + near_lanes(x) * s * (1.0f - s)};
  } else if constexpr (A == Activation::quick_gelu) {
    const Lanes s = sigmoid_lanes<T>(x * 1.702f);
    return {x * s, s + near_lanes(x * 1.702f) * s * (1.0f - s)};
  } else if constexpr (A == Activation::relu) {
    return {x < zero ? zero : x, x > zero ? one : zero};
  } else if constexpr (A == Activation::squared_relu) {
    const Lanes r = x < zero ? zero : x;
    return {r * r, r + r};
  } else if constexpr (A == Activation::sigmoid) {
    const Lanes s = sigmoid_lanes<T>(x);
    return {s, s * (1.0f - s)};
  } else if constexpr (A == Activation::clamped_silu) {
    const Lanes g = smaller_of(x, p.limit), s = sigmoid_lanes<T>(g * p.alpha);
    const Lanes slope = s + near_lanes(g * p.alpha) * s * (1.0f - s);
    return {g * s, x > zero + p.limit ? zero : slope};
  } else if constexpr (A == Activation::clamped_linear) {
    const Lanes high = zero + p.limit, low = zero - p.limit, top = smaller_of(x, p.limit);
    const Lanes inside = x <= high ? one : zero;
    return {(top < low ? low : top) + p.offset, x >= low ? inside : zero};
  } else {
    return {x, one};
  }
}

// The product of the activations so far, times act(x), exact enough for results of type E: float32 in the order of
// pairs unless it is stored as T. `before` is null when there is none. ahead: see write_ahead.
template <Activation A, DType T, DType E, bool kStored>
inline void value_row(const Stored<T>* x, int64_t n, const float* before, const ActivationLimits& p,
                      std::conditional_t<kStored, Stored<T>, float>* to, int64_t ahead) {
  const auto run = [=](auto multiply) {
    for_pairs(n, [=](int64_t i, auto count) {
      read_ahead_of_pair(x + i);
      write_ahead_of_pair(to + i, ahead);
      LanePair y = map_pair(load_pair<T>(x + i, count), [=](Lanes v) { return activate<A, E>(v, p).value; });
      if constexpr (multiply()) y = y * load_ordered<T>(before + i, count);
      if constexpr (kStored)
        store_pair<T>(to + i, y, count);
      else
        store_ordered<T>(to + i, y, count);
    });
  };
  before ? run(std::true_type()) : run(std::false_type());
}

// values = act(x), slopes = act'(x), both float32 in the order of pairs.
template <Activation A, DType T>
inline void slope_row(const Stored<T>* x, int64_t n, const ActivationLimits& p, float* values, float* slopes) {
  for_pairs(n, [=](int64_t i, auto count) {
    read_ahead_of_pair(x + i);
    const LanePair pair = load_pair<T>(x + i, count);
    const Pair first = activate<A, T>(pair.first, p), second = activate<A, T>(pair.second, p);
    store_ordered<T>(values + i, {first.value, second.value}, count);
    store_ordered<T>(slopes + i, {first.slope, second.slope}, count);
  });
}

// body(std::integral_constant<Activation, a>) for the run-time value a.
template <class Body>
inline void with_activation(Activation a, const Body& body) {
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

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
