// The instruction list of a fused elementwise node, interpreted by each thread for its element.
#include <cstdlib>
#include <cstring>
#include <map>
#include <sstream>

#include "cuda/launch.h"
#include "cuda/registration.h"
#include "cuda/values.cuh"

namespace te::cuda {
namespace {

enum Code : uint8_t {
  move,
  cast,
  cast_saturate,
  bitcast,
  select,
  add,
  sub,
  mul,
  div_,
  rem,
  pow_,
  maximum,
  minimum,
  and_,
  or_,
  xor_,
  shift_left,
  shift_right,
  eq,
  ne,
  lt,
  le,
  gt,
  ge,
  not_,
  is_finite,
  neg,
  abs_,
  sign,
  exp_,
  log_,
  log1p_,
  expm1_,
  sqrt_,
  rsqrt_,
  sin_,
  cos_,
  tanh_,
  sigmoid,
  erf_,
  erf_inv,
  floor_,
  ceil_,
  round_,
  constant
};
const std::map<std::string, Code> kCodes = {{"cast", cast},
                                            {"cast_saturate", cast_saturate},
                                            {"bitcast", bitcast},
                                            {"select", select},
                                            {"add", add},
                                            {"sub", sub},
                                            {"mul", mul},
                                            {"div", div_},
                                            {"rem", rem},
                                            {"pow", pow_},
                                            {"maximum", maximum},
                                            {"minimum", minimum},
                                            {"and", and_},
                                            {"or", or_},
                                            {"xor", xor_},
                                            {"shift_left", shift_left},
                                            {"shift_right", shift_right},
                                            {"eq", eq},
                                            {"ne", ne},
                                            {"lt", lt},
                                            {"le", le},
                                            {"gt", gt},
                                            {"ge", ge},
                                            {"not", not_},
                                            {"is_finite", is_finite},
                                            {"neg", neg},
                                            {"abs", abs_},
                                            {"sign", sign},
                                            {"exp", exp_},
                                            {"log", log_},
                                            {"log1p", log1p_},
                                            {"expm1", expm1_},
                                            {"sqrt", sqrt_},
                                            {"rsqrt", rsqrt_},
                                            {"sin", sin_},
                                            {"cos", cos_},
                                            {"tanh", tanh_},
                                            {"sigmoid", sigmoid},
                                            {"erf", erf_},
                                            {"floor", floor_},
                                            {"ceil", ceil_},
                                            {"round", round_}};

constexpr int kMaxInputs = 16, kMaxCode = 112, kMaxOutputs = 16;

struct Instruction {
  Code code;
  DType dtype, from;  // of the result, of operand a
  uint8_t a, b, c;
  uint32_t bits;
};
struct Plan {
  int inputs, steps, outputs;
  int64_t total;
  const void* in[kMaxInputs];
  DType in_dtype[kMaxInputs];
  Strided walk[kMaxInputs];
  void* out[kMaxOutputs];
  DType out_dtype[kMaxOutputs];
  uint8_t from[kMaxOutputs];
  Instruction code[kMaxCode];
};

__device__ float real_op(Code code, float a, float b) {
  switch (code) {
    case add:
      return __fadd_rn(a, b);
    case sub:
      return __fadd_rn(a, -b);
    case mul:
      return __fmul_rn(a, b);
    case div_:
      return a / b;
    case rem:
      return fmodf(a, b);
    case pow_:
      return powf(a, b);
    case maximum:
      return a > b || a != a ? a : b;
    case minimum:
      return a < b || a != a ? a : b;
    case neg:
      return -a;
    case abs_:
      return fabsf(a);
    case sign:
      return a > 0 ? 1.0f : a < 0 ? -1.0f : a;
    case exp_:
      return expf(a);
    case log_:
      return logf(a);
    case log1p_:
      return log1pf(a);
    case expm1_:
      return expm1f(a);
    case sqrt_:
      return sqrtf(a);
    case rsqrt_:
      return 1.0f / sqrtf(a);
    case sin_:
      return sinf(a);
    case cos_:
      return cosf(a);
    case tanh_:
      return tanhf(a);
    case sigmoid:
      return 1.0f / (1.0f + expf(-a));
    case erf_:
      return erff(a);
    case floor_:
      return floorf(a);
    case ceil_:
      return ceilf(a);
    case round_:
      return rintf(a);
    default:
      return a;
  }
}
__device__ uint32_t integer_op(Code code, bool is_signed, uint32_t a, uint32_t b) {
  const int32_t x = static_cast<int32_t>(a), y = static_cast<int32_t>(b);
  switch (code) {
    case add:
      return a + b;
    case sub:
      return a - b;
    case mul:
      return a * b;
    case div_:
      return b == 0 ? 0xffffffffu : is_signed ? (y == -1 ? 0u - a : static_cast<uint32_t>(x / y)) : a / b;
    case rem:
      return b == 0 ? a : is_signed ? (y == -1 ? 0u : static_cast<uint32_t>(x % y)) : a % b;
    case maximum:
      return is_signed ? (x > y ? a : b) : (a > b ? a : b);
    case minimum:
      return is_signed ? (x < y ? a : b) : (a < b ? a : b);
    case and_:
      return a & b;
    case or_:
      return a | b;
    case xor_:
      return a ^ b;
    case shift_left:
      return b > 31 ? 0 : a << b;
    case shift_right:
      return is_signed ? static_cast<uint32_t>(x >> (b > 31 ? 31 : b)) : b > 31 ? 0 : a >> b;
    case not_:
      return ~a;
    case neg:
      return 0u - a;
    case abs_:
      return is_signed && x < 0 ? 0u - a : a;
    case sign:
      return static_cast<uint32_t>(is_signed ? (x > 0) - (x < 0) : a != 0);
    default:
      return a;
  }
}
template <class T>
__device__ bool compare(Code code, T a, T b) {
  switch (code) {
    case eq:
      return a == b;
    case ne:
      return a != b;
    case lt:
      return a < b;
    case le:
      return a <= b;
    case gt:
      return a > b;
    default:
      return a >= b;
  }
}
__device__ bool is_signed(DType t) { return t == DType::int32; }
__device__ uint32_t fit(DType t, uint32_t x) { return t == DType::uint8 ? x & 255 : t == DType::boolean ? x != 0 : x; }

__device__ uint32_t step(const Instruction& i, const uint32_t* r) {
  const uint32_t a = r[i.a], b = r[i.b];
  const bool from_real = is_real(i.from), to_real = is_real(i.dtype);
  switch (i.code) {
    case constant:
      return i.bits;
    case move:
      return a;
    case select:
      return r[i.a] ? r[i.b] : r[i.c];
    case is_finite:
      return from_real ? fabsf(__uint_as_float(a)) < INFINITY : 1;
    case eq:
    case ne:
    case lt:
    case le:
    case gt:
    case ge:
      return from_real           ? compare(i.code, __uint_as_float(a), __uint_as_float(b))
             : is_signed(i.from) ? compare(i.code, static_cast<int32_t>(a), static_cast<int32_t>(b))
                                 : compare(i.code, a, b);
    case cast:
    case cast_saturate: {
      if (!to_real) {
        if (!from_real) return fit(i.dtype, a);
        const float x = __uint_as_float(a);
        if (i.dtype == DType::boolean) return x != 0;
        if (x != x) return 0;
        if (i.dtype == DType::int32)
          return static_cast<uint32_t>(x >= 2147483648.0f   ? 0x7fffffff
                                       : x < -2147483648.0f ? INT32_MIN
                                                            : static_cast<int32_t>(x));
        if (i.dtype == DType::uint32) return x >= 4294967296.0f ? 0xffffffffu : x <= 0 ? 0 : static_cast<uint32_t>(x);
        return x >= 255 ? 255 : x <= 0 ? 0 : static_cast<uint32_t>(x);
      }
      const float x = from_real           ? __uint_as_float(a)
                      : is_signed(i.from) ? static_cast<float>(static_cast<int32_t>(a))
                                          : static_cast<float>(a);
      return __float_as_uint(round_real(i.dtype, x, i.code == cast_saturate));
    }
    default:
      if (to_real) return __float_as_uint(round_real(i.dtype, real_op(i.code, __uint_as_float(a), __uint_as_float(b))));
      if (i.code == not_ && i.dtype == DType::boolean) return a ^ 1;
      return fit(i.dtype, integer_op(i.code, is_signed(i.dtype), a, b));
  }
}

__global__ void run_code(const __grid_constant__ Plan plan) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= plan.total) return;
  uint32_t r[kMaxInputs + kMaxCode];
  for (int k = 0; k < plan.inputs; ++k) {
    const int64_t at = plan.walk[k](i);
    r[k] = is_real(plan.in_dtype[k]) ? __float_as_uint(load_real(plan.in_dtype[k], plan.in[k], at))
                                     : load_bits(plan.in_dtype[k], plan.in[k], at);
  }
  for (int k = 0; k < plan.steps; ++k) r[plan.inputs + k] = step(plan.code[k], r);
  for (int k = 0; k < plan.outputs; ++k) {
    const uint32_t x = r[plan.from[k]];
    if (is_real(plan.out_dtype[k]))
      store_real(plan.out_dtype[k], plan.out[k], i, __uint_as_float(x));
    else
      store_bits(plan.out_dtype[k], plan.out[k], i, x);
  }
}

class Elementwise : public Kernel {
 public:
  explicit Elementwise(const Plan& plan) : plan_(plan) {}
  void run(const Call& call) override {
    if (plan_.total == 0) return;
    for (int k = 0; k < plan_.inputs; ++k) plan_.in[k] = call.in[k];
    for (int k = 0; k < plan_.outputs; ++k) plan_.out[k] = call.out[k];
    launch("elementwise", run_code, {dim3(static_cast<unsigned>((plan_.total + 127) / 128)), dim3(128)}, plan_);
  }

 private:
  Plan plan_;
};

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  Plan plan{};
  const std::vector<std::string> code = node.params.texts("code");
  const std::vector<int64_t> results = node.params.integers("outputs");
  if (node.inputs.size() > kMaxInputs || code.size() > 96 || results.size() > kMaxOutputs)
    return *why = "too long", nullptr;
  std::vector<DType> dtypes;
  const Shape& shape = node.outputs[0].shape;
  plan.total = node.outputs[0].size();
  for (const Aval& input : node.inputs) {
    const int k = plan.inputs++;
    plan.in_dtype[k] = input.dtype;
    dtypes.push_back(input.dtype);
    Strided& walk = plan.walk[k];
    if (input.size() == plan.total || shape.size() > kMaxRank) {
      if (input.size() != plan.total && input.size() != 1) return *why = "rank", nullptr;
      walk.rank = 1, walk.size[0] = std::max<int64_t>(plan.total, 1), walk.stride[0] = input.size() == 1 ? 0 : 1;
      continue;
    }
    walk.rank = static_cast<int>(shape.size());
    int64_t step = 1;
    for (size_t d = shape.size(), from = input.shape.size(); d-- > 0;) {
      const int64_t size = from > 0 ? input.shape[--from] : 1;
      walk.size[d] = shape[d];
      walk.stride[d] = size == 1 ? 0 : step;
      step *= size;
    }
  }
  for (const std::string& line : code) {
    std::istringstream words(line);
    std::string op, dtype, word;
    words >> op >> dtype;
    Instruction i{};
    if (!dtype_from_name(dtype, &i.dtype)) return *why = "dtype", nullptr;
    if (op == "const") {
      words >> word;
      i.code = constant;
      const double x = word == "true" ? 1 : word == "false" ? 0 : std::strtod(word.c_str(), nullptr);
      if (i.dtype <= DType::float8_e5m2) {
        const float f = round_real(i.dtype, static_cast<float>(x));
        std::memcpy(&i.bits, &f, 4);
      } else {
        i.bits = static_cast<uint32_t>(static_cast<int64_t>(x));
      }
    } else {
      const auto found = kCodes.find(op);
      if (found == kCodes.end() || op == "bitcast") return *why = "cannot do " + op, nullptr;
      i.code = found->second;
      uint8_t* operand[] = {&i.a, &i.b, &i.c};
      for (int n = 0; words >> word && n < 3; ++n) *operand[n] = static_cast<uint8_t>(std::atoi(word.c_str() + 1));
      i.from = dtypes[op == "select" ? i.b : i.a];
    }
    dtypes.push_back(i.dtype);
    plan.code[plan.steps++] = i;
  }
  for (int64_t r : results) {
    plan.out_dtype[plan.outputs] = dtypes[static_cast<size_t>(r)];
    plan.from[plan.outputs++] = static_cast<uint8_t>(r);
  }
  return std::make_unique<Elementwise>(plan);
}
TE_CUDA_KERNEL(elementwise, prepare);

}  // namespace
}  // namespace te::cuda
