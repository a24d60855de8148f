// The packed layouts of dot against their definition, with the widest vectors that the kernels use. The pairs of
// bfloat16 are what processors with bfloat16 instructions want, and are checked on every machine that has AVX-512.
#if defined(__x86_64__)
#pragma GCC target("avx2,fma,f16c,avx512f,avx512bw,avx512vl,avx512dq")
#endif
#undef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_pack_test
#include <time.h>

#include <functional>
#include <limits>

#include "cpu/gemm/pack.h"
#include "test/harness.h"

using namespace te;
using namespace te::isa_pack_test;

namespace {

float value_of(DType dtype, const char* at) {
  float x;
  load_row(dtype, at, 1, &x);
  return x;
}

float packed_value(bool bfloat16, const void* data, int64_t index) {
  return bfloat16 ? bfloat16_to_float(static_cast<const uint16_t*>(data)[index])
                  : static_cast<const float*>(data)[index];
}

void check(DType dtype, bool bfloat16, int64_t outer, int64_t depth, bool depth_contiguous, int64_t width,
           int64_t stack) {
  const int64_t bytes = static_cast<int64_t>(dtype_bytes(dtype)), gap = 3;
  test::Memory source(static_cast<size_t>((depth + gap) * (outer + gap) * bytes));
  std::vector<float> numbers(static_cast<size_t>((depth + gap) * (outer + gap)));
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<float>(i * 7919 % 97) / 8 - 6;
  store_row(dtype, numbers.data(), static_cast<int64_t>(numbers.size()), source.as());
  const DotView view{dtype, source.as<char>(), depth_contiguous ? depth + gap : 1, depth_contiguous ? 1 : outer + gap};
  const int64_t element = bfloat16 ? 2 : 4;
  const std::string what = std::string(dtype_name(dtype)) + (bfloat16 ? " to bfloat16 " : " to float32 ") +
                           std::to_string(outer) + "x" + std::to_string(depth) + (depth_contiguous ? " deep" : " wide");

  const int64_t row = depth + 5;
  const int64_t zero = bfloat16 ? depth % 2 : 0;
  test::Memory left(static_cast<size_t>((outer * row - 5 + zero) * element));
  pack_left(view, outer, depth, bfloat16, left.as(), row);
  bool same = left.intact();
  for (int64_t i = 0; i < outer; ++i)
    for (int64_t k = 0; k < depth; ++k)
      same = same && packed_value(bfloat16, left.as(), i * row + k) == value_of(dtype, view.at(i, k));
  for (int64_t i = 0; zero && i < outer; ++i) same = same && packed_value(true, left.as(), i * row + depth) == 0;
  test::expect(same, "left " + what);

  const int64_t step = 16 * stack;
  const PanelLayout layout{width, (depth + step - 1) / step * step, stack, (outer + width - 1) / width};
  test::Memory right(static_cast<size_t>(layout.size() * element));
  pack_right(view, depth, outer, layout, right.as());
  same = right.intact();
  for (int64_t j = 0; j < layout.panels * width; ++j) {
    for (int64_t k = 0; k < layout.depth; ++k) {
      const int64_t index =
          j / width * (width * layout.depth) + k / stack * (width * stack) + j % width * stack + k % stack;
      const float wanted = j < outer && k < depth ? value_of(dtype, view.at(j, k)) : 0;
      same = same && packed_value(bfloat16, right.as(), index) == wanted;
    }
  }
  test::expect(same, "right " + what + " width " + std::to_string(width));
}

// Times say nothing under qemu-user, whose processor is chosen by this variable.
bool is_emulated() { return std::getenv("QEMU_CPU") != nullptr; }

// The best of many repetitions in the time of this thread, which does not count what other processes take.
double thread_ns(const std::function<void()>& body) {
  const auto now = [] {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
  };
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 20; ++i) {
    const double start = now();
    body();
    best = std::min(best, now() - start);
  }
  return best;
}

// No layout of either operand is packed to bfloat16 one number at a time: all take less than half of the time of that.
void check_vectors(DType dtype) {
  constexpr int64_t kOuter = 512, kDepth = 512;
  test::Memory source(kOuter * kDepth * dtype_bytes(dtype)), to(kOuter * kDepth * 2);
  std::memset(source.as(), 0, source.size);
  for (bool deep : {false, true}) {
    const DotView view{dtype, source.as<char>(), deep ? kDepth : 1, deep ? 1 : kOuter};
    const double single = thread_ns([&] {
      for (int64_t k = 0; k < kDepth; ++k)
        for (int64_t j = 0; j < kOuter; ++j)
          to.as<uint16_t>()[k * kOuter + j] = float_to_bfloat16(value_of(dtype, view.at(j, k)));
    });
    for (bool left : {true, false}) {
      const double ns = thread_ns([&] {
        if (left)
          pack_left(view, kOuter, kDepth, true, to.as(), kDepth);
        else
          pack_right(view, kDepth, kOuter, PanelLayout{kOuter, kDepth, 2, 1}, to.as());
      });
      char text[160];
      std::snprintf(text, sizeof text, "%s %s %s: packed in 1/%.1f of the time of single numbers", dtype_name(dtype),
                    deep ? "deep" : "wide", left ? "left" : "right", single / ns);
      test::expect(ns < single / 2, text);
    }
  }
}

}  // namespace

int main() {
#if defined(__x86_64__)
  if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl")) return 0;
#endif
  for (DType dtype : {DType::float32, DType::bfloat16, DType::float16, DType::float8_e4m3fn, DType::float8_e5m2}) {
    for (const auto& [outer, depth] :
         {std::pair<int64_t, int64_t>{64, 64}, {1, 1}, {17, 33}, {100, 131}, {250, 96}, {63, 2}}) {
      for (bool deep : {false, true}) {
        for (int64_t width : {16, 48, 64}) {
          check(dtype, false, outer, depth, deep, width, 1);
          if (exact_in_bfloat16(dtype)) check(dtype, true, outer, depth, deep, width, 2);
        }
      }
    }
  }
  for (DType dtype : {DType::bfloat16, DType::float8_e4m3fn, DType::float8_e5m2})
    if (!kExactMemory && !is_emulated()) check_vectors(dtype);
  return test::failures();
}
