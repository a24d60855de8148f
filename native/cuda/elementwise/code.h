// Reads the instruction list of an elementwise node and turns it into steps of operations.cuh. A step only ever makes a
// new register; rounding to the dtype of an instruction is a step of its own.
#pragma once
#include <string>
#include <vector>

#include "cuda/elementwise/steps.h"
#include "plan/elementwise_code.h"

namespace te::cuda::element {

// Float dtypes are floats in registers, the others 32 bits.
inline bool is_real(DType t) { return t <= DType::float8_e8m0fnu; }

struct Step {
  Function function;
  int a, b, c;  // registers; -1: not used
  int out;
};

struct CodeRegister {
  bool real;
  int input = -1;         // which input, or
  bool constant = false;  // a constant of these bits, or neither: computed
  uint32_t bits = 0;
};

// A value of the node's code: several may be one register.
struct Value {
  DType dtype;
  int at;
};

struct Code {
  std::vector<CodeRegister> registers;  // the inputs first
  std::vector<Step> steps;
  std::vector<Value> outputs;
};

// False and *why for an instruction that is not known.
bool read_code(const Node& node, Code* to, std::string* why);

const char* name_of(Function function);
// A function of a name, such as "real_" + "add"; false where there is none.
bool find_function(const std::string& name, Function* to);

}  // namespace te::cuda::element
