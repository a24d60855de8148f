// Turns the instructions of an elementwise node into row steps.
#pragma once
#include <string>
#include <vector>

#include "cpu/elementwise/casts.h"
#include "cpu/elementwise/instructions.h"
#include "plan/elementwise_code.h"
#include "te/kernel.h"

namespace te {
namespace TE_ISA_NAMESPACE {

enum class RowKind { real, is_signed, is_unsigned };

inline RowKind row_kind(DType t) {
  switch (t) {
    case DType::uint32:
      return RowKind::is_unsigned;
    case DType::int32:
    case DType::uint8:
    case DType::boolean:
      return RowKind::is_signed;
    default:
      return RowKind::real;
  }
}

struct Register {
  DType dtype;
  int input = -1;         // which input, or
  bool constant = false;  // a constant with this row value, or neither: computed
  uint32_t bits = 0;
};

struct RowStep {
  RowFunction run;
  int a, b, c, out;  // registers; -1: not used
  // A step that only rounds a to the dtype of out: storing a with that rounding gives the same bytes.
  enum class Rounds { no, plain, saturating } rounds = Rounds::no;
};

// Nearest float, except that an inexact result has an odd last bit: rounding it again, to a narrower format, is then
// the same as rounding the double once.
inline float round_to_odd(double x) {
  const float nearest = static_cast<float>(x);
  if (static_cast<double>(nearest) == x || !std::isfinite(nearest) || (float_bits(nearest) & 1u)) return nearest;
  return std::nextafter(nearest, static_cast<double>(nearest) < x ? HUGE_VALF : -HUGE_VALF);
}

class CodeReader {
 public:
  CodeReader(const Node& node, std::string* why) : why_(why) {
    for (size_t i = 0; i < node.inputs.size(); ++i) registers.push_back({node.inputs[i].dtype, static_cast<int>(i)});
  }

  bool read(const std::string& line) {
    Instruction instruction;
    if (!read_instruction(line, registers.size(), &instruction, why_)) return false;
    const auto& [op, dtype, operands, value] = instruction;
    const Register result{dtype};
    if (op == "const") return constant(result, value);
    const int out = static_cast<int>(registers.size());
    registers.push_back(result);
    const bool known = operands.size() == 1   ? unary(op, operands[0], out)
                       : operands.size() == 2 ? binary(op, operands[0], operands[1], out)
                       : operands.size() == 3 ? ternary(op, operands, out)
                                              : false;
    return known || fail("cannot do", line);
  }

  // A computed register that equals r, so that inputs and constants can be outputs.
  int copy_of(int r) {
    registers.push_back({registers[static_cast<size_t>(r)].dtype});
    const int out = static_cast<int>(registers.size()) - 1;
    step(&rows::move, r, -1, -1, out);
    return out;
  }

  std::vector<Register> registers;
  std::vector<RowStep> steps;

 private:
  bool fail(const char* what, const std::string& line) {
    *why_ = std::string(what) + " '" + line + "'";
    return false;
  }
  DType dtype(int r) const { return registers[static_cast<size_t>(r)].dtype; }
  RowKind kind(int r) const { return row_kind(dtype(r)); }
  void step(RowFunction run, int a, int b, int c, int out) { steps.push_back({run, a, b, c, out}); }
  void round(RowFunction run, int a, int out, bool saturate = false) {
    steps.push_back({run, a, -1, -1, out, saturate ? RowStep::Rounds::saturating : RowStep::Rounds::plain});
  }

  bool constant(Register result, double value) {
    result.constant = true;
    switch (row_kind(result.dtype)) {
      case RowKind::real: {
        float x = result.dtype == DType::float32 ? static_cast<float>(value) : round_to_odd(value);
        round_row(result.dtype, &x, 1);
        result.bits = float_bits(x);
        break;
      }
      case RowKind::is_signed:
        result.bits = result.dtype == DType::boolean ? (value != 0)
                      : result.dtype == DType::uint8
                          ? float_to_uint8(static_cast<float>(value))
                          : static_cast<uint32_t>(static_cast<int32_t>(clamp(value, -2147483648.0, 2147483647.0)));
        break;
      case RowKind::is_unsigned:
        result.bits = static_cast<uint32_t>(clamp(value, 0, 4294967295.0));
        break;
    }
    registers.push_back(result);
    return true;
  }
  static double clamp(double x, double low, double high) { return x > low ? (x < high ? x : high) : low; }

  // Brings register `out`, which holds a result of the wider row type, into its own dtype.
  bool finish(int out, bool rounded = false) {
    if (rounded) return true;
    if (const RowFunction to_nearest = rows::rounding(dtype(out))) {
      round(to_nearest, out, out);
    } else if (dtype(out) == DType::uint8) {
      step(&rows::unary<uint32_t, uint32_t, [](uint32_t x) { return x & 255u; }>, out, -1, -1, out);
    } else if (dtype(out) == DType::boolean) {
      step(&rows::unary<uint32_t, uint32_t, [](uint32_t x) -> uint32_t { return x != 0; }>, out, -1, -1, out);
    }
    return true;
  }

  bool unary(const std::string& op, int a, int out) {
    if (op == "cast" || op == "cast_saturate") return cast(a, out, op == "cast_saturate");
    if (op == "bitcast") return bitcast(a, out);
    if (op == "is_finite") {
      if (dtype(out) != DType::boolean) return false;
      if (kind(a) == RowKind::real)
        step(&rows::unary<float, int32_t, [](float x) -> int32_t { return std::fabs(x) < HUGE_VALF; }>, a, -1, -1, out);
      else
        step(&rows::unary<uint32_t, uint32_t, [](uint32_t) -> uint32_t { return 1; }>, a, -1, -1, out);
      return true;
    }
    if (dtype(a) != dtype(out)) return false;
    if (kind(out) == RowKind::real) {
      const auto* entry = rows::find(rows::kFloatUnary, op);
      if (!entry) return false;
      const bool bfloat16 = dtype(out) == DType::bfloat16;
      step(bfloat16 ? entry->bfloat16 : entry->plain, a, -1, -1, out);
      return finish(out, bfloat16);
    }
    const auto* entry = rows::find(rows::kIntegerUnary, op);
    if (!entry) return false;
    if (op == "not" && dtype(out) == DType::boolean)
      step(&rows::unary<uint32_t, uint32_t, [](uint32_t x) { return x ^ 1u; }>, a, -1, -1, out);
    else
      step(kind(out) == RowKind::is_signed ? entry->is_signed : entry->is_unsigned, a, -1, -1, out);
    return finish(out);
  }

  bool binary(const std::string& op, int a, int b, int out) {
    if (dtype(a) != dtype(b)) return false;
    if (const auto* compare = rows::find(rows::kCompare, op)) {
      if (dtype(out) != DType::boolean) return false;
      step(kind(a) == RowKind::real        ? compare->is_float
           : kind(a) == RowKind::is_signed ? compare->is_signed
                                           : compare->is_unsigned,
           a, b, -1, out);
      return true;
    }
    if (dtype(a) != dtype(out)) return false;
    if (kind(out) == RowKind::real) {
      const auto* entry = rows::find(rows::kFloatBinary, op);
      if (!entry) return false;
      const bool bfloat16 = dtype(out) == DType::bfloat16;
      step(bfloat16 ? entry->bfloat16 : entry->plain, a, b, -1, out);
      return finish(out, bfloat16);
    }
    const auto* entry = rows::find(rows::kIntegerBinary, op);
    if (!entry) return false;
    step(kind(out) == RowKind::is_signed ? entry->is_signed : entry->is_unsigned, a, b, -1, out);
    if (op == "shift_left" && dtype(out) == DType::boolean) {  // a bool is one bit wide
      step(&rows::unary<uint32_t, uint32_t, [](uint32_t x) { return x & 1u; }>, out, -1, -1, out);
      return true;
    }
    return finish(out);
  }

  bool ternary(const std::string& op, const std::vector<int>& from, int out) {
    if (op != "select" || dtype(from[0]) != DType::boolean || dtype(from[1]) != dtype(out) ||
        dtype(from[2]) != dtype(out))
      return false;
    step(&rows::select, from[0], from[1], from[2], out);
    return true;
  }

  // Floats: to nearest even, overflow to NaN or infinity unless saturating. Float to integer: towards zero, clamped.
  // Between integers: the low bits. To bool: not zero.
  bool cast(int a, int out, bool saturate) {
    const DType to = dtype(out);
    if (kind(out) != RowKind::real) {
      step(kind(a) == RowKind::real ? rows::real_to_integer(to) : rows::to_bool_or_move(to), a, -1, -1, out);
      return kind(a) == RowKind::real || finish(out);
    }
    if (kind(a) != RowKind::real) {
      const bool is_signed = kind(a) == RowKind::is_signed;
      step(is_signed ? rows::integer_to_real<int32_t>(to) : rows::integer_to_real<uint32_t>(to), a, -1, -1, out);
      a = out;
    }
    if (saturate && to == DType::float8_e4m3fn) {
      round(&rows::saturating<DType::float8_e4m3fn>, a, out, true);
    } else if (saturate && to == DType::float8_e5m2) {
      round(&rows::saturating<DType::float8_e5m2>, a, out, true);
    } else if (saturate) {
      step(rows::clamping(to), a, -1, -1, out);
      return finish(out);
    } else if (to == DType::bfloat16) {
      round(&rows::float_unary<[](float x) { return x; }, true>, a, out);
    } else if (to == dtype(a) || to == DType::float32) {
      if (a != out) step(&rows::move, a, -1, -1, out);
    } else {
      if (a != out) step(&rows::move, a, -1, -1, out);
      steps.back().rounds = a != out ? RowStep::Rounds::plain : steps.back().rounds;
      return finish(out);
    }
    return true;
  }

  // Through the code of the format: to codes, then from codes.
  bool bitcast(int a, int out) {
    if (dtype_bytes(dtype(a)) != dtype_bytes(dtype(out))) return false;
    step(rows::to_codes(dtype(a)), a, -1, -1, out);
    if (dtype(out) == DType::boolean) return finish(out);
    if (const RowFunction decode = rows::from_codes(dtype(out))) step(decode, out, -1, -1, out);
    return true;
  }

  std::string* why_;
};

}  // namespace TE_ISA_NAMESPACE
}  // namespace te
