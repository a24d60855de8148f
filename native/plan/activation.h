// Activations by name, and what the ops of gated activations ask for.
#pragma once
#include <algorithm>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "te/kernel.h"

namespace te {

enum class Activation : uint8_t {
  linear,
  gelu,
  silu,
  relu,
  quick_gelu,
  squared_relu,
  sigmoid,
  clamped_silu,
  clamped_linear
};

inline constexpr const char* kActivationNames[] = {
    "linear", "gelu", "silu", "relu", "quick_gelu", "squared_relu", "sigmoid", "clamped_silu", "clamped_linear"};

// Of the clamped ones.
struct ActivationLimits {
  float limit = 7.0f, alpha = 1.702f, offset = 1.0f;
};

inline constexpr int kGatedSlots = 8;

// y [rows, width]: the product over the slots a of u [rows, slots, width] of activation[a](u[:, a]).
struct GatedProblem {
  DType u = DType::float32;
  int slots = 1;
  Activation activation[kGatedSlots]{};
  ActivationLimits limits;
  int64_t rows = 1, width = 0;
};

// u is the node's input number `input`.
inline bool read_gated(const Node& node, size_t input, GatedProblem* to, std::string* why) {
  const Aval& u = node.inputs[input];
  to->u = u.dtype;
  if (u.dtype > DType::float16) return *why = std::string("no activation of ") + dtype_name(u.dtype), false;
  const std::vector<std::string> names = node.params.texts("activations");
  if (names.empty() || names.size() > kGatedSlots) return *why = "between 1 and 8 activations", false;
  to->slots = static_cast<int>(names.size());
  for (size_t a = 0; a < names.size(); ++a) {
    const auto at = std::find(std::begin(kActivationNames), std::end(kActivationNames), names[a]);
    if (at == std::end(kActivationNames)) return *why = "there is no activation " + names[a], false;
    to->activation[a] = static_cast<Activation>(at - std::begin(kActivationNames));
  }
  const size_t rank = u.shape.size();
  if (rank < 2 || u.shape[rank - 2] != to->slots) return *why = "u does not have an axis of activations", false;
  to->width = u.shape[rank - 1];
  for (size_t d = 0; d + 2 < rank; ++d) to->rows *= u.shape[d];
  if (to->slots == 1) to->width *= to->rows, to->rows = 1;
  to->limits = {static_cast<float>(node.params.number("limit", 7)),
                static_cast<float>(node.params.number("alpha", 1.702)),
                static_cast<float>(node.params.number("offset", 1))};
  return true;
}

}  // namespace te
