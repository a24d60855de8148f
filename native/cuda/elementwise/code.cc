// Which steps an instruction takes for its dtypes: the rules of native/cpu/elementwise/code.h.
#include "cuda/elementwise/code.h"

#include <cmath>
#include <map>

#include "cuda/elementwise/formats.cuh"

namespace te::cuda::element {
namespace {

const std::map<std::string, Function>& functions() {
#define X(name) {#name, Function::name##_},
  static const std::map<std::string, Function> all = {TE_REAL_FROM_REAL(X) TE_REAL_FROM_REALS(X) TE_BITS_FROM_REALS(
      X) TE_BITS_FROM_REAL(X) TE_REAL_FROM_BITS(X) TE_BITS_FROM_BITS(X) TE_BITS_FROM_BOTH(X)};
#undef X
  return all;
}

// Nearest float, except that an inexact result has an odd last bit: rounding it again, to a narrower format, is then
// the same as rounding the double once.
float round_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  if (static_cast<double>(nearest) == x || !std::isfinite(nearest) || (float_bits(nearest) & 1u)) return nearest;
  return std::nextafter(nearest, static_cast<double>(nearest) < x ? HUGE_VALF : -HUGE_VALF);
}

float constant_of(DType dtype, double value) {
  const float x = round_to_odd(value);
  switch (dtype) {
    case DType::bfloat16:
      return value_bfloat16(code_bfloat16(x));
    case DType::float16:
      return value_float16(code_float16(x));
    case DType::float8_e4m3fn:
      return value_float8_e4m3fn(code_float8_e4m3fn(x));
    case DType::float8_e5m2:
      return value_float8_e5m2(code_float8_e5m2(x));
    case DType::float8_e8m0fnu:
      return value_float8_e8m0fnu(code_float8_e8m0fnu(x));
    default:
      return static_cast<float>(value);
  }
}

double clamp(double x, double low, double high) { return x > low ? (x < high ? x : high) : low; }

uint32_t constant_bits(DType dtype, double value) {
  switch (dtype) {
    case DType::boolean:
      return value != 0;
    case DType::uint8:
      return static_cast<uint32_t>(clamp(value, 0, 255));
    case DType::int32:
      return static_cast<uint32_t>(static_cast<int32_t>(clamp(value, -2147483648.0, 2147483647.0)));
    case DType::uint32:
      return static_cast<uint32_t>(clamp(value, 0, 4294967295.0));
    default:
      return float_bits(constant_of(dtype, value));
  }
}

class Reader {
 public:
  explicit Reader(Code* code) : code_(*code) {}

  bool read(const Instruction& i, std::vector<Value>* values) {
    to_ = i.dtype;
    std::vector<Value> v;
    for (int operand : i.operands) v.push_back((*values)[static_cast<size_t>(operand)]);
    const bool known = i.op == "const" ? constant(i.value)
                       : v.size() == 1 ? unary(i.op, v[0])
                       : v.size() == 2 ? binary(i.op, v[0], v[1])
                       : v.size() == 3 ? select(i.op, v[0], v[1], v[2])
                                       : false;
    values->push_back({to_, at_});
    return known;
  }

 private:
  bool keep(int at) { return at_ = at, true; }
  int add(CodeRegister reg) {
    code_.registers.push_back(reg);
    return static_cast<int>(code_.registers.size()) - 1;
  }
  bool constant(double value) { return keep(add({is_real(to_), -1, true, constant_bits(to_, value)})); }

  // A step whose result is the register at_.
  bool step(const std::string& name, bool real, int a, int b = -1) {
    Function function;
    if (!find_function(name, &function)) return false;
    at_ = add({real});
    code_.steps.push_back({function, a, b, -1, at_});
    return true;
  }
  // For integers, a function of both signs or of the one of `dtype`. uint8 and bool are small, whence signed.
  bool integer_step(const std::string& op, DType dtype, int a, int b = -1) {
    return step("bits_" + op, false, a, b) ||
           step((dtype == DType::uint32 ? "unsigned_" : "signed_") + op, false, a, b);
  }
  // Brings at_, a result of the wider type, into the dtype of the instruction.
  bool finish() {
    if (to_ == DType::uint8) return step("bits_low_byte", false, at_);
    if (to_ == DType::boolean) return step("bits_truth", false, at_);
    return !is_real(to_) || to_ == DType::float32 || step(std::string("round_") + dtype_name(to_), true, at_);
  }

  bool unary(const std::string& op, Value a) {
    if (op == "cast" || op == "cast_saturate") return cast(a, op == "cast_saturate");
    if (op == "bitcast") return bitcast(a);
    if (op == "is_finite")
      return to_ == DType::boolean && step(is_real(a.dtype) ? "real_is_finite" : "bits_one", false, a.at);
    if (a.dtype != to_) return false;
    if (is_real(to_)) return step("real_" + op, true, a.at) && finish();
    if (op == "floor" || op == "ceil" || op == "round" || (op == "abs" && to_ == DType::uint32)) return keep(a.at);
    if (op == "not" && to_ == DType::boolean) return step("bits_flip", false, a.at);
    return integer_step(op, to_, a.at) && finish();
  }

  bool binary(const std::string& op, Value a, Value b) {
    if (a.dtype != b.dtype) return false;
    const bool compares = op == "eq" || op == "ne" || op == "lt" || op == "le" || op == "gt" || op == "ge";
    if (to_ != (compares ? DType::boolean : a.dtype)) return false;
    if (compares)
      return is_real(a.dtype) ? step("real_" + op, false, a.at, b.at) : integer_step(op, a.dtype, a.at, b.at);
    if (is_real(to_)) return step("real_" + op, true, a.at, b.at) && finish();
    if (!integer_step(op, to_, a.at, b.at)) return false;
    if (op == "shift_left" && to_ == DType::boolean) return step("bits_low_bit", false, at_);  // it is one bit wide
    return finish();
  }

  bool select(const std::string& op, Value condition, Value a, Value b) {
    if (op != "select" || condition.dtype != DType::boolean || a.dtype != to_ || b.dtype != to_) return false;
    at_ = add({is_real(to_)});
    code_.steps.push_back({Function::select_, condition.at, a.at, b.at, at_});
    return true;
  }

  // Floats: to nearest even, overflow to NaN or infinity unless saturating. Float to integer: towards zero, clamped.
  // Between integers: the low bits. To bool: not zero.
  bool cast(Value a, bool saturate) {
    const std::string to = dtype_name(to_);
    keep(a.at);
    if (!is_real(to_)) return is_real(a.dtype) ? step("real_to_" + to, false, at_) : finish();
    if (!is_real(a.dtype)) {
      const std::string from = a.dtype == DType::uint32 ? "unsigned" : "signed";
      if (!step(from + (to_ == DType::float32 ? "_to_real" : "_to_narrow"), true, at_)) return false;
    } else if (to_ == a.dtype && !saturate) {
      return true;
    }
    if (saturate && is_float8(to_)) return step("saturate_" + to, true, at_);
    return (!saturate || step("clamp_" + to, true, at_)) && finish();
  }

  // Through the code of the format.
  bool bitcast(Value a) {
    if (dtype_bytes(a.dtype) != dtype_bytes(to_)) return false;
    keep(a.at);
    if (is_real(a.dtype) && !step(std::string("code_") + dtype_name(a.dtype), false, at_)) return false;
    if (to_ == DType::boolean) return finish();
    return !is_real(to_) || step(std::string("value_") + dtype_name(to_), true, at_);
  }

  Code& code_;
  DType to_ = DType::float32;
  int at_ = -1;  // the register of the last result
};

}  // namespace

bool find_function(const std::string& name, Function* to) {
  const auto found = functions().find(name);
  if (found == functions().end()) return false;
  *to = found->second;
  return true;
}

const char* name_of(Function function) {
#define X(name)           \
  case Function::name##_: \
    return #name;
  switch (function) {
    TE_REAL_FROM_REAL(X)
    TE_REAL_FROM_REALS(X)
    TE_BITS_FROM_REALS(X)
    TE_BITS_FROM_REAL(X)
    TE_REAL_FROM_BITS(X) TE_BITS_FROM_BITS(X) TE_BITS_FROM_BOTH(X) case Function::select_ : return "select";
  }
#undef X
  return "";
}

bool read_code(const Node& node, Code* to, std::string* why) {
  std::vector<Value> values;
  std::vector<DType> dtypes;
  for (const Aval& input : node.inputs) {
    values.push_back({input.dtype, static_cast<int>(values.size())});
    to->registers.push_back({is_real(input.dtype), values.back().at});
    if (input.dtype == DType::float64) return *why = "an input is float64", false;
  }
  Reader reader(to);
  for (const std::string& line : node.params.texts("code")) {
    Instruction instruction;
    if (!read_instruction(line, values.size(), &instruction, why)) return false;
    if (!reader.read(instruction, &values)) return *why = "cannot do '" + line + "'", false;
  }
  for (const Value& value : values) dtypes.push_back(value.dtype);
  for (int r : output_registers(node, dtypes, why)) to->outputs.push_back(values[static_cast<size_t>(r)]);
  return !to->outputs.empty();
}

}  // namespace te::cuda::element
