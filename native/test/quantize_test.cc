// quantize against an oracle that searches the table of codes (Q01), and its speed when given an argument.
#include "test/harness.h"

using namespace te;
using test::Op;

namespace {

// Finite value of a code by the definition of the format: E exponent bits and M mantissa bits.
double value_of(int code, int mantissa_bits, int bias) {
  const int magnitude = code & 0x7f, exponent = magnitude >> mantissa_bits,
            mantissa = magnitude & ((1 << mantissa_bits) - 1);
  const double x = exponent ? std::ldexp(1.0 + std::ldexp(mantissa, -mantissa_bits), exponent - bias)
                            : std::ldexp(mantissa, 1 - bias - mantissa_bits);
  return code & 0x80 ? -x : x;
}

// The nearest finite code, a tie to the even one; values beyond the range give the last.
int nearest(DType q, float x) {
  const bool e4m3 = q == DType::float8_e4m3fn;
  const int m = e4m3 ? 3 : 2, bias = e4m3 ? 7 : 15, last = e4m3 ? 0x7e : 0x7b, sign = std::signbit(x) ? 0x80 : 0;
  if (std::isnan(x)) return -1;
  const double size = std::min(std::abs(static_cast<double>(x)), value_of(last, m, bias));
  int low = 0, high = last;
  while (low < high) {  // the last code not above size
    const int middle = (low + high + 1) / 2;
    if (value_of(middle, m, bias) <= size)
      low = middle;
    else
      high = middle - 1;
  }
  if (low < last) {
    const double down = size - value_of(low, m, bias), up = value_of(low + 1, m, bias) - size;
    if (up < down || (up == down && low % 2 == 1)) ++low;
  }
  return low | sign;
}

bool is_nan_code(DType q, int code) { return q == DType::float8_e4m3fn ? (code & 0x7f) == 0x7f : (code & 0x7f) > 0x7c; }

void expect_codes(const std::string& what, DType q, const std::vector<double>& x, float scale, const Op& op) {
  uint64_t wrong = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const int got = op.outputs[0].as<uint8_t>()[i], wanted = nearest(q, static_cast<float>(x[i]) * scale);
    wrong += wanted < 0 ? !is_nan_code(q, got) : got != wanted;
  }
  test::expect(wrong == 0, what + " to " + dtype_name(q) + ": " + std::to_string(wrong) + " wrong codes");
}

// Every bit pattern of a 16-bit format; for float32 every upper half, with any lower one.
void check_patterns(DType x, DType q, float scale) {
  Op op("quantize");
  op.input(x, {65536}).input(DType::float32, {1}).output(q, {65536}).output(DType::float32, {1});
  op.param("dtype", dtype_name(q)).fill(1, [=](int64_t) { return scale; });
  for (uint32_t i = 0; i < 65536; ++i)
    if (x == DType::float32)
      op.inputs[0].as<uint32_t>()[i] = i << 16 | (i * 40503u & 0xffffu);
    else
      op.inputs[0].as<uint16_t>()[i] = static_cast<uint16_t>(i);
  op.run();
  expect_codes(std::string("all ") + dtype_name(x), q, op.in(0), scale, op);
  test::expect(std::isnan(op.out(1)[0]), "amax of NaN is NaN");
}

void check_random(DType x, DType q, const Shape& shape, float scale) {
  Op op("quantize");
  op.input(x, shape).input(DType::float32, {1}).output(q, shape).output(DType::float32, {1});
  op.param("dtype", dtype_name(q)).fill(1, [=](int64_t) { return scale; }).normal(0, 0, 3);
  op.run();
  const std::vector<double> numbers = op.in(0);
  expect_codes(std::string("normal ") + dtype_name(x), q, numbers, scale, op);
  double largest = 0;
  for (double v : numbers) largest = std::max(largest, std::abs(v));
  test::expect(op.out(1)[0] == largest, "amax is exact");
}

void check_amax(float special, const char* what) {
  Op op("quantize");
  op.input(DType::float32, {100001})
      .input(DType::float32, {1})
      .output(DType::float8_e4m3fn, {100001})
      .output(DType::float32, {1});
  op.param("dtype", "float8_e4m3fn").fill(1, [](int64_t) { return 1.0f; }).normal(0);
  op.inputs[0].as<float>()[77777] = special;
  op.run();
  const double amax = op.out(1)[0];
  test::expect(std::isnan(special) ? std::isnan(amax) : amax == std::abs(special), std::string("amax of ") + what);
}

void speed(DType x, DType q) {
  Op op("quantize");
  op.input(x, {2048, 2048}).input(DType::float32, {1}).output(q, {2048, 2048}).output(DType::float32, {1});
  op.param("dtype", dtype_name(q)).fill(1, [](int64_t) { return 16.0f; }).normal(0);
  op.time(std::string(dtype_name(x)) + " to " + dtype_name(q), op.bytes());
}

}  // namespace

int main(int argc, char**) {
  const DType floats[] = {DType::float32, DType::bfloat16, DType::float16};
  for (DType q : {DType::float8_e4m3fn, DType::float8_e5m2}) {
    for (float scale : {1.0f, 149.33333f, 1e-3f, -2.5f, 3e29f})
      for (DType x : floats) check_patterns(x, q, scale);
    for (DType x : floats)
      for (const Shape& shape : {Shape{120, 2080}, {8, 8}, {1, 3221}, {2333, 1}, {1481, 677}, {0}, {}})
        check_random(x, q, shape, 37.5f);
    if (argc > 1)
      for (DType x : floats) speed(x, q);
  }
  check_amax(NAN, "NaN");
  check_amax(INFINITY, "infinity");
  check_amax(-INFINITY, "minus infinity");
  check_amax(-1e30f, "a large number");
  return test::failures();
}
