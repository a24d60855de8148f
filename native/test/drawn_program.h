// Programs of sums and exchanges, drawn from a seed, and what they give: for tests of exchanges beside other kernels.
#pragma once
#include <array>
#include <random>
#include <vector>

#include "te/program.h"

namespace te::test {

constexpr int64_t kCount = 16;
constexpr int64_t kBytes = kCount * static_cast<int64_t>(sizeof(float));
using Floats = std::array<float, kCount>;

inline Value value(Value::Place place, int64_t at) { return {{{kCount}, DType::float32, true}, place, at}; }

// add: y = a + b. exchange: y = 2 x + 1.
// A program whose inputs are two tensors, the first of which the only output may take over. Each step reads two values
// and writes a slot of the arena; the last writes the output.
struct Drawn {
  ProgramSpec spec;
  explicit Drawn(unsigned seed) {
    std::mt19937 random(seed);
    const auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    constexpr int kSlots = 4;
    spec.values = {value(Value::Place::input, 0), value(Value::Place::input, 1), value(Value::Place::output, 0)};
    for (int slot = 0; slot < kSlots; ++slot) spec.values.push_back(value(Value::Place::arena, slot * kBytes));
    std::vector<int> written = {0, 1};
    const int steps = 3 + below(12);
    for (int k = 0; k < steps; ++k) {
      const int a = written[static_cast<size_t>(below(static_cast<int>(written.size())))];
      const int b = written[static_cast<size_t>(below(static_cast<int>(written.size())))];
      const bool last = k == steps - 1;
      const int out = last ? 2 : 3 + below(kSlots);
      if (below(2) && !last)
        spec.nodes.push_back({"exchange", {a}, {out}, {}});
      else
        spec.nodes.push_back({"add", {a, b}, {out}, {}});
      written.push_back(out);
    }
    spec.inputs = 2;
    const bool takes_over = below(2) == 1;
    spec.outputs = {{2, takes_over ? 0 : -1}};
    if (takes_over) spec.donated = {0};
    spec.arena_bytes = kSlots * kBytes;
  }
};

// Step by step, in the memory that the program names.
inline Floats wanted(const ProgramSpec& spec, const Floats& x, const Floats& y) {
  std::vector<Floats> memory(7);
  memory[0] = x, memory[1] = y;
  for (const ProgramNode& node : spec.nodes) {
    Floats sum;
    const auto &a = memory[static_cast<size_t>(node.inputs[0])], &b = memory[static_cast<size_t>(node.inputs.back())];
    for (size_t i = 0; i < sum.size(); ++i) sum[i] = a[i] + b[i] + (node.op == "add" ? 0 : 1);
    memory[static_cast<size_t>(node.outputs[0])] = sum;
  }
  return memory[2];
}

inline Floats numbers(float first) {
  Floats all;
  for (size_t i = 0; i < all.size(); ++i) all[i] = first + 0.25f * static_cast<float>(i);
  return all;
}

}  // namespace te::test
