// Writes the source: loads of whole vectors, one line for each step, stores.
#include "cuda/elementwise/source.h"

#include <cstdio>

namespace te::cuda::element {
namespace {

std::string n(int64_t x) { return std::to_string(x); }

std::string named(const char* letter, size_t k) { return std::string(letter).append(n(static_cast<int64_t>(k))); }

const char* type_of(DType dtype) {
  return dtype_bytes(dtype) == 4 ? "unsigned" : dtype_bytes(dtype) == 2 ? "unsigned short" : "unsigned char";
}

class Writer {
 public:
  Writer(const Node& node, const Code& code, const Walk& walk) : node_(node), code_(code), walk_(walk) {
    vector_ = vector_length();
    rows_ = walk.inner() % vector_ == 0;
  }

  Source write() {
    text_ = prelude;
    line("using namespace te::cuda::element;");
    line("extern \"C\" __global__ void __launch_bounds__(" + n(kSourceThreads) +
         ") te_kernel(const __grid_constant__ Arguments a) {");
    line(walk_.total < INT32_MAX ? "  using Index = unsigned;" : "  using Index = long long;");
    line("  constexpr int V = " + n(vector_) + ";");
    line("  const Index total = static_cast<Index>(a.total), step = static_cast<Index>(gridDim.x) * blockDim.x * V;");
    fixed();
    line(
        "  for (Index first = (static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x) * V; first < total; "
        "first += step) {");
    line("    const int valid = total - first < V ? static_cast<int>(total - first) : V;");
    loads();
    elements();
    stores();
    line("  }");
    line("}");
    return {std::move(text_), vector_};
  }

 private:
  void line(const std::string& text) { text_ += text + "\n"; }
  InputPlan::Mode mode(size_t input) const { return walk_.inputs[input].mode; }
  std::string pack(DType dtype) const { return std::string("Pack<") + type_of(dtype) + ", V>"; }

  // Narrow elements in pieces of 16 bytes, unless so many values at once would not fit into registers.
  int vector_length() const {
    size_t narrowest = 4;
    for (size_t k = 0; k < node_.inputs.size(); ++k)
      if (mode(k) != InputPlan::Mode::scalar) narrowest = std::min(narrowest, dtype_bytes(node_.inputs[k].dtype));
    for (const Aval& output : node_.outputs) narrowest = std::min(narrowest, dtype_bytes(output.dtype));
    return narrowest < 4 && node_.inputs.size() + node_.outputs.size() <= 8 ? 8 : 4;
  }

  // The value of a code in `of`, which is an expression of the type that type_of gives.
  static std::string decoded(DType dtype, const std::string& of) {
    return is_real(dtype) ? std::string("value_") + dtype_name(dtype) + "(" + of + ")"
                          : "static_cast<unsigned>(" + of + ")";
  }
  static std::string declared(bool real, int r, const std::string& value) {
    return std::string(real ? "const float r" : "const unsigned r") + n(r) + " = " + value + ";";
  }

  // Constants, and inputs of one element.
  void fixed() {
    for (size_t r = 0; r < code_.registers.size(); ++r) {
      const CodeRegister& reg = code_.registers[r];
      const int at = static_cast<int>(r);
      if (reg.constant) {
        char bits[16];
        std::snprintf(bits, sizeof bits, "0x%08xu", reg.bits);
        line("  " + declared(reg.real, at, reg.real ? std::string("bits_float(") + bits + ")" : bits));
      } else if (reg.input >= 0 && mode(r) == InputPlan::Mode::scalar) {
        const DType dtype = node_.inputs[r].dtype;
        line("  " +
             declared(reg.real, at,
                      decoded(dtype, std::string("*static_cast<const ") + type_of(dtype) + "*>(a.in[" + n(at) + "])")));
      }
    }
  }

  void loads() {
    std::string whole, part;
    for (size_t k = 0; k < node_.inputs.size(); ++k) {
      if (mode(k) != InputPlan::Mode::full) continue;
      const std::string x = named("x", k), type = type_of(node_.inputs[k].dtype);
      line("    " + pack(node_.inputs[k].dtype) + " " + x + ";");
      const std::string load = x + " = load<" + type + ", V>(a.in[" + n(static_cast<int64_t>(k)) + "], first";
      whole += "      " + load + ");\n";
      part += "      " + load + ", valid);\n";
    }
    if (!whole.empty()) text_ += "    if (valid == V) {\n" + whole + "    } else {\n" + part + "    }\n";
    if (!walk_.any_strided) return;
    coordinates();
    rows_ ? strided_vectors() : strided_elements();
  }

  size_t rank() const { return walk_.sizes.size(); }

  // i0, i1, … of the element `first`.
  void coordinates() {
    line("    Index rest = first;");
    for (size_t d = rank(); d-- > 1;) {
      const std::string i = n(static_cast<int64_t>(d));
      line("    Index q" + i + " = divide(rest, a.dims[" + i + "]), i" + i + " = rest - q" + i +
           " * static_cast<Index>(a.dims[" + i + "].size);");
      line("    rest = q" + i + ";");
    }
    line("    Index i0 = rest;");
  }
  std::string offset(size_t input) const {
    std::string sum;
    const InputPlan& plan = walk_.inputs[input];
    for (size_t d = 0; d < rank(); ++d) {
      if (plan.strides[d] == 0) continue;
      if (!sum.empty()) sum += " + ";
      const std::string i = n(static_cast<int64_t>(d));
      sum += d + 1 == rank()
                 ? "i" + i
                 : "i" + i + " * static_cast<Index>(a.stride[" + n(static_cast<int64_t>(input)) + "][" + i + "])";
    }
    return sum;
  }

  // A vector lies inside of one row.
  void strided_vectors() {
    for (size_t k = 0; k < node_.inputs.size(); ++k) {
      if (mode(k) != InputPlan::Mode::strided) continue;
      const std::string at = n(static_cast<int64_t>(k)), type = type_of(node_.inputs[k].dtype);
      if (walk_.inputs[k].strides.back() == 1)
        line("    const " + pack(node_.inputs[k].dtype) + " x" + at + " = load<" + type + ", V>(a.in[" + at + "], " +
             offset(k) + ");");
      else
        line("    const " + type + " x" + at + " = static_cast<const " + type + "*>(a.in[" + at + "])[" + offset(k) +
             "];");
    }
  }
  void strided_elements() {
    for (size_t k = 0; k < node_.inputs.size(); ++k)
      if (mode(k) == InputPlan::Mode::strided) line("    " + pack(node_.inputs[k].dtype) + " " + named("x", k) + ";");
    line("#pragma unroll");
    line("    for (int e = 0; e < V; ++e) {");
    for (size_t k = 0; k < node_.inputs.size(); ++k) {
      if (mode(k) != InputPlan::Mode::strided) continue;
      const std::string at = n(static_cast<int64_t>(k)), type = type_of(node_.inputs[k].dtype);
      line("      x" + at + ".at[e] = e < valid ? static_cast<const " + type + "*>(a.in[" + at + "])[" + offset(k) +
           "] : static_cast<" + type + ">(0);");
    }
    std::string close;
    for (size_t d = rank(); d-- > 0;) {  // the next element: the last coordinate that is not at its end moves on
      const std::string i = n(static_cast<int64_t>(d));
      if (d == 0) {
        line("      ++i0;");
      } else {
        line("      if (++i" + i + " == static_cast<Index>(a.dims[" + i + "].size)) {");
        line("      i" + i + " = 0;");
        close += "}";
      }
    }
    line("      " + close);
    line("    }");
  }

  void elements() {
    for (size_t j = 0; j < node_.outputs.size(); ++j)
      line("    " + pack(node_.outputs[j].dtype) + " " + named("y", j) + ";");
    line("#pragma unroll");
    line("    for (int e = 0; e < V; ++e) {");
    for (size_t k = 0; k < node_.inputs.size(); ++k) {
      if (mode(k) == InputPlan::Mode::scalar) continue;
      const bool one = mode(k) == InputPlan::Mode::strided && rows_ && walk_.inputs[k].strides.back() == 0;
      const std::string at = n(static_cast<int64_t>(k));
      line("      " + declared(code_.registers[k].real, static_cast<int>(k),
                               decoded(node_.inputs[k].dtype, "x" + at + (one ? "" : ".at[e]"))));
    }
    for (const Step& s : code_.steps)
      line("      " + declared(code_.registers[static_cast<size_t>(s.out)].real, s.out, call(s)));
    for (size_t j = 0; j < code_.outputs.size(); ++j)
      line("      " + named("y", j) + ".at[e] = static_cast<" + type_of(node_.outputs[j].dtype) + ">(" +
           encoded(code_.outputs[j]) + ");");
    line("    }");
  }
  static std::string call(const Step& s) {
    const auto r = [](int i) { return "r" + n(i); };
    if (s.function == Function::select_) return r(s.a) + " ? " + r(s.b) + " : " + r(s.c);
    return std::string(name_of(s.function)) + "(" + r(s.a) + (s.b >= 0 ? ", " + r(s.b) : "") + ")";
  }
  // The code of a value. Where its last step rounds to the format, that of the value before: the rounding has made it
  // already, and the compiler drops its decoding when nobody reads it.
  std::string encoded(Value value) const {
    if (!is_real(value.dtype)) return "r" + n(value.at);
    const std::string name = dtype_name(value.dtype);
    for (const Step& s : code_.steps) {
      if (s.out != value.at) continue;
      const std::string function = name_of(s.function);
      if (function == "round_" + name) return "code_" + name + "(r" + n(s.a) + ")";
      if (function == "saturate_" + name) return "saturating_" + name + "(r" + n(s.a) + ")";
    }
    return "code_" + name + "(r" + n(value.at) + ")";
  }

  void stores() {
    std::string whole, part;
    for (size_t j = 0; j < node_.outputs.size(); ++j) {
      const std::string at = n(static_cast<int64_t>(j));
      const std::string store =
          std::string("      store<") + type_of(node_.outputs[j].dtype) + ", V>(a.out[" + at + "], first, y" + at;
      whole += store + ");\n";
      part += store + ", valid);\n";
    }
    text_ += "    if (valid == V) {\n" + whole + "    } else {\n" + part + "    }\n";
  }

  const Node& node_;
  const Code& code_;
  const Walk& walk_;
  int vector_;
  bool rows_;
  std::string text_;
};

}  // namespace

Source source_of(const Node& node, const Code& code, const Walk& walk) { return Writer(node, code, walk).write(); }

}  // namespace te::cuda::element
