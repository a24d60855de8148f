// What an elementwise node asks for, on any device: the words of its instructions, and how its inputs follow the order
// of the output. Register r < inputs is an input; every instruction appends one: "add float32 %0 %1",
// "const bfloat16 0.5", "cast float8_e4m3fn %3".
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <sstream>
#include <string>
#include <vector>

#include "te/kernel.h"

namespace te {

struct Instruction {
  std::string op;
  DType dtype = DType::float32;
  std::vector<int> operands;  // registers
  double value = 0;           // of "const"
};

// `registers`: how many there are before this instruction.
inline bool read_instruction(const std::string& line, size_t registers, Instruction* to, std::string* why) {
  const auto fail = [&](const char* what) {
    *why = std::string(what) + " '" + line + "'";
    return false;
  };
  std::istringstream words(line);
  std::string dtype, word;
  words >> to->op >> dtype;
  if (!dtype_from_name(dtype, &to->dtype) || to->dtype == DType::float64) return fail("unknown dtype in");
  while (words >> word && word[0] == '%') {
    const int r = std::atoi(word.c_str() + 1);
    if (r < 0 || static_cast<size_t>(r) >= registers) return fail("unknown register in");
    to->operands.push_back(r);
  }
  if (to->op == "const") to->value = word == "true" ? 1 : word == "false" ? 0 : std::strtod(word.c_str(), nullptr);
  return true;
}

// The registers that the outputs are; empty where they do not fit the code. `dtypes`: of all registers.
inline std::vector<int> output_registers(const Node& node, const std::vector<DType>& dtypes, std::string* why) {
  std::vector<int> outputs;
  const std::vector<int64_t> wanted = node.params.integers("outputs");
  for (size_t j = 0; j < node.outputs.size(); ++j) {
    if (j >= wanted.size() || wanted[j] < 0 || wanted[j] >= static_cast<int64_t>(dtypes.size()) ||
        node.outputs[j].shape != node.outputs[0].shape ||
        dtypes[static_cast<size_t>(wanted[j])] != node.outputs[j].dtype) {
      *why = "the outputs do not fit the code";
      return {};
    }
    outputs.push_back(static_cast<int>(wanted[j]));
  }
  if (outputs.empty()) *why = "there is no output";
  return outputs;
}

// How an input's elements follow the output's order.
struct InputPlan {
  enum class Mode { full, scalar, strided } mode = Mode::full;
  std::vector<int64_t> strides;  // strided: per collapsed dimension; the last is 0 or 1
};

// The output's dimensions, merged as far as all inputs allow, and the inputs' strides over them.
struct Walk {
  std::vector<int64_t> sizes;
  std::vector<InputPlan> inputs;
  int64_t total = 1;
  bool any_strided = false;
  int64_t inner() const { return sizes.empty() ? 1 : sizes.back(); }
};

inline bool plan_walk(const Node& node, Walk* walk, std::string* why) {
  const Shape& shape = node.outputs[0].shape;
  const size_t rank = shape.size(), count = node.inputs.size();
  walk->total = node.outputs[0].size();
  std::vector<std::vector<int64_t>> strides(count, std::vector<int64_t>(rank, 0));
  for (size_t i = 0; i < count; ++i) {
    const Shape& from = node.inputs[i].shape;
    int64_t step = 1;
    for (size_t k = 0; k < rank; ++k) {
      const size_t d = rank - 1 - k;
      const int64_t size = k < from.size() ? from[from.size() - 1 - k] : 1;
      if (size != 1 && size != shape[d]) {
        *why = "an input's shape does not broadcast to the output's";
        return false;
      }
      strides[i][d] = size == 1 ? 0 : step;
      step *= size;
    }
    if (from.size() > rank && node.inputs[i].size() != walk->total && node.inputs[i].size() != 1) {
      *why = "an input has more dimensions than the output";
      return false;
    }
  }
  std::vector<std::vector<int64_t>> merged(count);
  for (size_t d = 0; d < rank; ++d) {
    if (shape[d] == 1) continue;
    bool joins = !walk->sizes.empty();
    for (size_t i = 0; i < count && joins; ++i) joins = merged[i].back() == strides[i][d] * shape[d];
    if (joins)
      walk->sizes.back() *= shape[d];
    else
      walk->sizes.push_back(shape[d]);
    for (size_t i = 0; i < count; ++i) {
      if (joins)
        merged[i].back() = strides[i][d];
      else
        merged[i].push_back(strides[i][d]);
    }
  }
  walk->inputs.resize(count);
  for (size_t i = 0; i < count; ++i) {
    InputPlan& plan = walk->inputs[i];
    plan.strides = merged[i];
    const bool repeats = std::any_of(plan.strides.begin(), plan.strides.end(), [](int64_t s) { return s == 0; });
    const bool moves = std::any_of(plan.strides.begin(), plan.strides.end(), [](int64_t s) { return s != 0; });
    plan.mode = !moves ? InputPlan::Mode::scalar : repeats ? InputPlan::Mode::strided : InputPlan::Mode::full;
    walk->any_strided = walk->any_strided || plan.mode == InputPlan::Mode::strided;
  }
  return true;
}

}  // namespace te
