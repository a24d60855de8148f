// Elementwise code that is compiled at run time gives the bits of the interpreter, for every dtype and instruction, way
// of repeating inputs, and length. Where NVRTC itself is named by TE_TEST_NVRTC, it takes all of these sources.
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "cuda/elementwise/kernel_cache.h"
#include "cuda/elementwise/nvrtc.h"
#include "cuda/elementwise/source.h"
#include "run_node.h"
#include "te/settings.h"

using namespace te;
using namespace te::test;
using namespace te::cuda;

namespace {

struct Case {
  const char* name;
  std::vector<Aval> inputs;
  Shape shape;
  std::vector<std::string> code;
  std::vector<int64_t> outputs;
  std::vector<int> in_place = {};
};

Node node_of(const Case& c) {
  Node node{"elementwise", c.inputs, {}, {}};
  std::vector<double> outputs(c.outputs.begin(), c.outputs.end());
  node.params.set("code", c.code);
  node.params.set("outputs", outputs);
  for (int64_t r : c.outputs) {
    Aval output{c.shape, DType::float32, true};
    const int64_t line = r - static_cast<int64_t>(c.inputs.size());
    if (line < 0) {
      output.dtype = c.inputs[static_cast<size_t>(r)].dtype;
    } else {
      const std::string& text = c.code[static_cast<size_t>(line)];
      const size_t from = text.find(' ') + 1;
      dtype_from_name(text.substr(from, text.find(' ', from) - from), &output.dtype);
    }
    node.outputs.push_back(output);
  }
  return node;
}

// Random codes: for floats also NaN, infinities, zeros and subnormals, which random bits are now and then.
Bytes operand(const Aval& aval, std::mt19937& random) {
  Bytes bytes(aval.bytes());
  for (size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = static_cast<uint8_t>(aval.dtype == DType::boolean ? random() & 1 : random());
  if (aval.dtype != DType::float32 && aval.dtype != DType::int32) return bytes;
  std::normal_distribution<float> normal(0, 3);
  for (size_t i = 0; i + 4 <= bytes.size(); i += 4) {
    const float x = normal(random);
    const int32_t n = static_cast<int32_t>(x * 3);
    if (random() % 8 > 0) std::memcpy(&bytes[i], aval.dtype == DType::float32 ? static_cast<const void*>(&x) : &n, 4);
  }
  return bytes;
}

std::vector<Case> cases() {
  const auto f32 = [](Shape s) { return Aval{std::move(s), DType::float32, true}; };
  const auto bf16 = [](Shape s) { return Aval{std::move(s), DType::bfloat16, true}; };
  const auto of = [](DType t, Shape s) { return Aval{std::move(s), t, true}; };
  std::vector<Case> all = {
      {"float32 arithmetic",
       {f32({3, 701}), f32({3, 701})},
       {3, 701},
       {"add float32 %0 %1", "sub float32 %2 %1", "mul float32 %3 %0", "div float32 %4 %1", "rem float32 %5 %1",
        "maximum float32 %0 %1", "minimum float32 %0 %1", "square float32 %0", "neg float32 %6", "abs float32 %10",
        "sign float32 %0", "round float32 %0", "floor float32 %0", "ceil float32 %0"},
       {2, 6, 7, 8, 9, 11, 12, 13, 14, 15}},
      {"float32 functions",
       {f32({1027})},
       {1027},
       {"exp float32 %0", "abs float32 %0", "log float32 %2", "log1p float32 %2", "expm1 float32 %0", "sqrt float32 %2",
        "rsqrt float32 %2", "sin float32 %0", "cos float32 %0", "tanh float32 %0", "sigmoid float32 %0",
        "erf float32 %0", "erf_inv float32 %8", "pow float32 %2 %0", "is_finite bool %0"},
       {1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}},
      {"int32",
       {of(DType::int32, {517}), of(DType::int32, {517})},
       {517},
       {"add int32 %0 %1", "mul int32 %2 %1", "div int32 %3 %1", "rem int32 %3 %1", "pow int32 %0 %1",
        "shift_left int32 %0 %1", "shift_right int32 %0 %1", "and int32 %6 %7", "xor int32 %9 %8", "lt bool %0 %1",
        "select int32 %11 %10 %5", "cast float16 %12", "cast float32 %12", "cast uint8 %12", "abs int32 %0",
        "sign int32 %0", "not int32 %0"},
       {4, 5, 6, 7, 8, 10, 12, 13, 14, 15, 16, 17, 18}},
      {"uint32",
       {of(DType::uint32, {99}), of(DType::uint32, {99})},
       {99},
       {"div uint32 %0 %1", "rem uint32 %0 %1", "shift_right uint32 %0 %1", "pow uint32 %0 %1", "ge bool %0 %1",
        "cast float32 %0", "cast bfloat16 %0", "bitcast float32 %0", "maximum uint32 %0 %1"},
       {2, 3, 4, 5, 6, 7, 8, 9, 10}},
      {"uint8 and bool",
       {of(DType::uint8, {131}), of(DType::boolean, {131})},
       {131},
       {"sub uint8 %0 %0", "neg uint8 %0", "mul uint8 %0 %0", "cast bool %0", "and bool %1 %5", "not bool %6",
        "shift_left bool %1 %5", "cast float32 %1", "bitcast float8_e4m3fn %0", "cast uint8 %9", "pow uint8 %0 %0"},
       {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
      {"every format",
       {f32({645})},
       {645},
       {"cast bfloat16 %0", "cast float16 %0", "cast float8_e4m3fn %0", "cast float8_e5m2 %0", "cast float8_e8m0fnu %0",
        "cast_saturate float8_e4m3fn %0", "cast_saturate float8_e5m2 %0", "cast_saturate float16 %0",
        "cast_saturate bfloat16 %0", "cast int32 %0", "cast uint32 %0", "cast uint8 %0", "cast bool %0"},
       {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}},
      {"formats to float",
       {of(DType::float8_e4m3fn, {259}), of(DType::float8_e5m2, {259}), of(DType::float8_e8m0fnu, {259}),
        of(DType::float16, {259}), bf16({259})},
       {259},
       {"cast float32 %0", "cast float32 %1", "cast float32 %2", "cast float32 %3", "cast float32 %4",
        "bitcast uint8 %0", "add float8_e5m2 %1 %1", "mul float16 %3 %3"},
       {5, 6, 7, 8, 9, 10, 11, 12}},
      {"scale and cast",
       {bf16({40, 64}), f32({})},
       {40, 64},
       {"cast float32 %0", "mul float32 %2 %1", "cast_saturate float8_e4m3fn %3"},
       {4}},
      {"bias along rows", {bf16({40, 64}), bf16({64})}, {40, 64}, {"add bfloat16 %0 %1", "tanh bfloat16 %2"}, {3}},
      {"bias along odd rows",
       {bf16({9, 37}), f32({37})},
       {9, 37},
       {"cast float32 %0", "add float32 %2 %1", "cast bfloat16 %3"},
       {4}},
      {"repeated in three ways",
       {f32({5, 1, 7}), f32({6, 1}), bf16({5, 6, 7}), f32({1})},
       {5, 6, 7},
       {"mul float32 %0 %1", "cast float32 %2", "add float32 %4 %5", "sub float32 %6 %3", "const float32 0.1",
        "mul float32 %7 %8"},
       {9, 4}},
      {"per row", {f32({11, 16}), f32({11, 1})}, {11, 16}, {"sub float32 %0 %1", "exp float32 %2"}, {3}},
      {"input and constant as outputs", {f32({21})}, {21}, {"const bfloat16 0.3", "const int32 -7"}, {0, 1, 2}},
      {"in place", {f32({333}), f32({333})}, {333}, {"add float32 %0 %1", "mul float32 %0 %1"}, {2, 3}, {1, 0}},
      {"one element", {f32({}), bf16({})}, {}, {"cast float32 %1", "add float32 %0 %2"}, {3}},
  };
  Case many{"sixteen inputs", {}, {77}, {}, {}};
  for (int k = 0; k < 16; ++k) many.inputs.push_back(k % 2 ? bf16({77}) : f32({77}));
  int last = 0;
  for (int k = 1; k < 16; ++k) {
    int r = k;
    if (k % 2) many.code.push_back("cast float32 %" + std::to_string(k)), r = 15 + static_cast<int>(many.code.size());
    many.code.push_back("add float32 %" + std::to_string(last) + " %" + std::to_string(r));
    last = 15 + static_cast<int>(many.code.size());
  }
  many.outputs = {last};
  all.push_back(many);
  Case long_one{"96 instructions", {bf16({130})}, {130}, {}, {}};
  for (int k = 0; k < 48; ++k) {
    long_one.code.push_back("const bfloat16 " + std::to_string(0.5 + k));
    long_one.code.push_back("sub bfloat16 %" + std::to_string(2 * k + 1) + " %" + std::to_string(2 * k));
    long_one.outputs.push_back(2 * k + 2);
  }
  all.push_back(long_one);
  return all;
}

std::vector<Bytes> results(const Case& c, const char* way) {
  setenv("TE_NVRTC", way, 1);
  std::mt19937 random(7);
  std::vector<Bytes> inputs;
  for (const Aval& input : c.inputs) inputs.push_back(operand(input, random));
  return run_node(node_of(c), inputs, c.in_place);
}

void test_the_cache() {
  namespace fs = std::filesystem;
  const std::string folder = fs::temp_directory_path() / ("te-kernels-" + std::to_string(getpid()));
  std::string image;
  expect(!read_cached(folder, "key", &image), "a folder that is not there has no kernels");
  write_cached(folder, "key", "machine code");
  expect(read_cached(folder, "key", &image) && image == "machine code", "what was written is read");
  std::ofstream(folder + "/key", std::ios::in | std::ios::binary).seekp(50) << "X";
  expect(!read_cached(folder, "key", &image), "a damaged kernel is none");
  write_cached(folder, "key", "machine code");
  expect(read_cached(folder, "key", &image), "and is replaced");
  expect(std::distance(fs::directory_iterator(folder), {}) == 1, "nothing else is left in the folder");
  fs::remove_all(folder);
  expect(problems().empty(), "no problem so far");
  write_cached("/proc/nowhere", "key", "machine code");
  write_cached("/proc/nowhere", "key", "machine code");
  expect(problems().size() == 1, "a folder that cannot be written is one sentence");
}

void compile_all(const std::string& nvrtc) {
  setenv("TE_NVRTC", nvrtc.c_str(), 1);
  for (const Case& c : cases()) {
    const Node node = node_of(c);
    element::Code code;
    Walk walk;
    std::string why;
    if (!element::read_code(node, &code, &why) || !plan_walk(node, &walk, &why)) throw std::runtime_error(why);
    for (const char* architecture : {"sm_80", "sm_90a"}) {
      const std::string image = nvrtc::compile(element::source_of(node, code, walk).text, architecture);
      expect(image.size() > 4 && image.compare(1, 3, "ELF") == 0, c.name);
      if (const char* folder = std::getenv("TE_TEST_KEEP"))
        std::ofstream(std::string(folder) + "/" + architecture + " " + c.name + ".cubin", std::ios::binary) << image;
    }
  }
}

}  // namespace

int main() {
  if (const char* nvrtc = std::getenv("TE_TEST_NVRTC")) {
    compile_all(nvrtc);
    return failures;
  }
  test_the_cache();
  for (const Case& c : cases()) {
    const std::vector<Bytes> interpreted = results(c, "off"), compiled = results(c, "always");
    for (size_t k = 0; k < interpreted.size(); ++k)
      expect(interpreted[k] == compiled[k], std::string(c.name) + ", output " + std::to_string(k));
  }
  return failures;
}
