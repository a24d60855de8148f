// The elementwise kernel: repeating inputs, integers' edge cases, in-place outputs, fused against one by one, and
// speed.
#include "test/harness.h"

using namespace te;
using namespace te::test;

namespace {

int64_t offset_of(const Shape& shape, const Shape& from, int64_t flat) {
  int64_t offset = 0, step = 1;
  for (size_t k = 0; k < shape.size(); ++k) {
    const int64_t size = shape[shape.size() - 1 - k], at = flat % size;
    flat /= size;
    if (k >= from.size()) continue;
    const int64_t own = from[from.size() - 1 - k];
    if (own != 1) offset += at * step;
    step *= own;
  }
  return offset;
}

void check_broadcast(DType dtype, const Shape& a, const Shape& b, const Shape& y) {
  Op op("elementwise");
  op.input(dtype, a).input(dtype, b).output(dtype, y);
  op.texts("code", {std::string("sub ") + dtype_name(dtype) + " %0 %1"}).param("outputs", std::vector<double>{2});
  op.normal(0).normal(1);
  op.run();
  const std::vector<double> x = op.in(0), z = op.in(1);
  std::vector<double> wanted;
  for (int64_t i = 0; i < count(y); ++i) {
    float difference = static_cast<float>(x[offset_of(y, a, i)]) - static_cast<float>(z[offset_of(y, b, i)]);
    round_row(dtype, &difference, 1);
    wanted.push_back(difference);
  }
  op.expect_close("broadcast", 0, wanted, 0, 0);
}

void check_integers(const std::string& name, DType dtype, std::vector<double> a, std::vector<double> b,
                    std::vector<double> wanted) {
  Op op("elementwise");
  const auto n = static_cast<int64_t>(a.size());
  op.input(dtype, {n}).input(dtype, {n}).output(dtype, {n});
  op.texts("code", {name + " " + dtype_name(dtype) + " %0 %1"}).param("outputs", std::vector<double>{2});
  for (int i = 0; i < 2; ++i)
    for (int64_t k = 0; k < n; ++k) {
      const double v = (i ? b : a)[static_cast<size_t>(k)];
      if (dtype == DType::int32)
        op.inputs[i].as<int32_t>()[k] = static_cast<int32_t>(v);
      else if (dtype == DType::uint32)
        op.inputs[i].as<uint32_t>()[k] = static_cast<uint32_t>(v);
      else
        op.inputs[i].as<uint8_t>()[k] = static_cast<uint8_t>(v);
    }
  op.run();
  op.expect_close(name, 0, wanted, 0, 0);
}

// tanh-GELU as its primitives.
std::vector<std::string> gelu(const std::string& t) {
  return {"const " + t + " 0.044715", "const " + t + " 0.7978845608028654",
          "const " + t + " 1",        "const " + t + " 0.5",
          "mul " + t + " %0 %0",      "mul " + t + " %5 %0",
          "mul " + t + " %6 %1",      "add " + t + " %0 %7",
          "mul " + t + " %8 %2",      "tanh " + t + " %9",
          "add " + t + " %10 %3",     "mul " + t + " %0 %4",
          "mul " + t + " %12 %11"};
}

void check_fused(DType dtype) {
  const Shape shape{3, 1111};
  const std::string t = dtype_name(dtype);
  const std::vector<std::string> code = gelu(t);
  Op fused("elementwise");
  fused.input(dtype, shape).output(dtype, shape).texts("code", code).param("outputs", std::vector<double>{13});
  fused.normal(0, 0, 2);
  fused.run();
  // One node per instruction, constants as one-element inputs.
  std::vector<std::vector<double>> registers{fused.in(0)};
  for (const std::string& line : code) {
    std::istringstream words(line);
    std::string name, type, word;
    words >> name >> type;
    if (name == "const") {
      words >> word;
      registers.push_back({std::strtod(word.c_str(), nullptr)});
      continue;
    }
    Op one("elementwise");
    std::string text = name + " " + t;
    int inputs = 0;
    std::vector<std::vector<double>> values;
    while (words >> word) {
      values.push_back(registers[std::stoul(word.substr(1))]);
      one.input(dtype, values.back().size() == 1 ? Shape{} : shape);
      text += " %" + std::to_string(inputs++);
    }
    one.output(dtype, shape).texts("code", {text}).param("outputs", std::vector<double>{double(inputs)});
    for (int i = 0; i < inputs; ++i) one.fill(i, [&](int64_t k) { return static_cast<float>(values[i][k]); });
    one.run();
    registers.push_back(one.out(0));
  }
  fused.expect_close("fused " + t, 0, registers.back(), 0, 0);
}

void check_in_place() {
  Op op("elementwise");
  op.input(DType::float32, {5000})
      .input(DType::float32, {5000})
      .output(DType::float32, {5000})
      .output(DType::float32, {5000});
  op.texts("code", {"add float32 %0 %1", "sub float32 %0 %1"}).param("outputs", std::vector<double>{2, 3});
  op.normal(0).normal(1);
  const std::vector<double> x = op.in(0), z = op.in(1);
  expect(op.declined().empty(), "in place");
  std::string why;
  auto kernel = prepare_kernel(op.node, &why);
  Memory scratch(kernel->scratch_bytes());
  const void* in[] = {op.inputs[0].as(), op.inputs[1].as()};
  void* out[] = {op.inputs[0].as(), op.inputs[1].as()};  // both outputs over both inputs
  kernel->run({in, out, scratch.as()});
  bool same = true;
  for (size_t i = 0; i < x.size(); ++i)
    same = same && op.inputs[0].as<float>()[i] == float(x[i]) + float(z[i]) &&
           op.inputs[1].as<float>()[i] == float(x[i]) - float(z[i]);
  expect(same, "outputs over their inputs");
}

// Casts whose result is only stored, and casts whose result is also used.
void check_casts() {
  for (DType from : {DType::float32, DType::bfloat16})
    for (DType to : {DType::bfloat16, DType::float16, DType::float8_e4m3fn, DType::float8_e5m2, DType::float8_e8m0fnu})
      for (bool saturate : {false, true}) {
        if (saturate && !is_float8(to)) continue;
        const std::string name = dtype_name(to), cast = (saturate ? "cast_saturate " : "cast ") + name + " %0";
        Op op("elementwise");
        op.input(from, {3000}).output(to, {3000}).texts("code", {cast}).param("outputs", std::vector<double>{1});
        op.normal(0, 0, 3e4);
        op.run();
        std::vector<uint8_t> codes(3000 * dtype_bytes(to));
        std::vector<float> values(3000);
        for (size_t i = 0; i < 3000; ++i) values[i] = static_cast<float>(op.in(0)[i]);
        store_row(to, values.data(), 3000, codes.data(), saturate);
        expect(std::memcmp(codes.data(), op.outputs[0].as(), codes.size()) == 0, cast + " from " + dtype_name(from));
        Op used("elementwise");
        used.input(from, {3000}).output(to, {3000}).output(DType::float32, {3000});
        used.texts("code", {cast, "cast float32 %1"}).param("outputs", std::vector<double>{1, 2});
        std::memcpy(used.inputs[0].as(), op.inputs[0].as(), op.inputs[0].size);
        used.run();
        expect(std::memcmp(codes.data(), used.outputs[0].as(), codes.size()) == 0, cast + ", used again");
        used.expect_close(cast + " and back", 1, used.out(0), 0, 0);
      }
}

void time(const char* what, DType from, DType to, const std::vector<std::string>& code, int inputs, double out,
          int64_t n) {
  Op op("elementwise");
  for (int i = 0; i < inputs; ++i) op.input(from, {n / 1024, 1024});
  op.output(to, {n / 1024, 1024}).texts("code", code).param("outputs", std::vector<double>{out});
  for (int i = 0; i < inputs; ++i) op.normal(i);
  op.time(what, op.bytes());
}

}  // namespace

int main(int argc, char** argv) {
  for (DType t : {DType::float32, DType::bfloat16, DType::float16}) {
    check_broadcast(t, {7, 33}, {7, 33}, {7, 33});
    check_broadcast(t, {}, {7, 33}, {7, 33});
    check_broadcast(t, {33}, {7, 33}, {7, 33});
    check_broadcast(t, {7, 1}, {33}, {7, 33});
    check_broadcast(t, {5, 1, 700}, {3, 1}, {5, 3, 700});
    check_broadcast(t, {5, 3, 1500}, {1500}, {5, 3, 1500});
    check_broadcast(t, {2, 1, 4, 1}, {1, 3, 1, 5}, {2, 3, 4, 5});
    check_broadcast(t, {2000, 2}, {2}, {2000, 2});
    check_broadcast(t, {0, 4}, {4}, {0, 4});
    check_broadcast(t, {1}, {}, {});
    check_fused(t);
  }
  check_in_place();
  check_casts();
  const double low = INT32_MIN;
  check_integers("div", DType::int32, {7, -7, 5, low}, {2, 2, 0, -1}, {3, -3, -1, low});
  check_integers("rem", DType::int32, {7, -7, 5, low}, {2, 2, 0, -1}, {1, -1, 5, 0});
  check_integers("div", DType::uint32, {7, 4e9, 5}, {2, 2, 0}, {3, 2e9, 4294967295.0});
  check_integers("rem", DType::uint32, {7, 4e9, 5}, {2, 3, 0}, {1, 1, 5});
  check_integers("div", DType::uint8, {7, 200}, {0, 3}, {255, 66});
  check_integers("add", DType::uint8, {200}, {100}, {44});
  check_integers("sub", DType::uint8, {1}, {2}, {255});
  check_integers("shift_left", DType::int32, {1, 1, 1}, {31, 32, 40}, {low, 0, 0});
  check_integers("shift_right", DType::int32, {-8, -8, 8, 8}, {1, 32, 33, 1}, {-4, -1, 0, 4});
  check_integers("shift_right", DType::uint32, {4294967288.0, 8, 8}, {1, 32, 1}, {2147483644, 0, 4});
  check_integers("pow", DType::int32, {3, -2, 2, -1, 1, 0}, {4, 3, -1, -3, -9, 0}, {81, -8, 0, -1, 1, 1});
  check_integers("maximum", DType::uint32, {4e9}, {1}, {4e9});
  if (argc > 1) {  // thousands of elements to time
    const int64_t n = int64_t{std::atoi(argv[1])} << 10;
    for (DType t : {DType::float32, DType::bfloat16}) {
      const std::string s = dtype_name(t);
      time((s + " add").c_str(), t, t, {"add " + s + " %0 %1"}, 2, 2, n);
      time((s + " exp").c_str(), t, t, {"exp " + s + " %0"}, 1, 1, n);
      time((s + " gelu").c_str(), t, t, gelu(s), 1, 13, n);
    }
    time("cast f32 bf16", DType::float32, DType::bfloat16, {"cast bfloat16 %0"}, 1, 1, n);
    time("cast bf16 f32", DType::bfloat16, DType::float32, {"cast float32 %0"}, 1, 1, n);
    time("cast f32 e4m3", DType::float32, DType::float8_e4m3fn, {"cast_saturate float8_e4m3fn %0"}, 1, 1, n);
    std::vector<std::string> mixed{"cast float32 %0"};
    for (std::string line : gelu("float32")) {
      std::string shifted;
      for (size_t i = 0; i < line.size(); ++i) {
        shifted += line[i];
        if (line[i] != '%') continue;
        size_t used;
        const int r = std::stoi(line.substr(i + 1), &used);
        shifted += std::to_string(r + 1);
        i += used;
      }
      mixed.push_back(shifted);
    }
    mixed.push_back("cast bfloat16 %14");
    time("gelu bf16 via f32", DType::bfloat16, DType::bfloat16, mixed, 1, 15, n);
  }
  std::printf(failures() ? "FAILED\n" : "ok\n");
  return failures();
}
