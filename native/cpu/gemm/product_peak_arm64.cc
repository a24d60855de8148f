// The yardstick of products on arm64: multiply-adds of numbers that are in registers, by all threads.
// te: once
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>
#include <chrono>
#include <vector>

#include "cpu/gemm/bfloat16_unit.h"
#include "te/parallel.h"
#include "te/peak.h"
#include "te/status.h"

namespace te {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kSums = 24;  // enough to hide how long one takes, few enough to stay in registers
constexpr int64_t kSteps = 1 << 16;

// Both return a number that depends on all sums, so that they are computed.
float multiply_add(float x) {
  float32x4_t sum[kSums] = {};
  const float32x4_t factor = vdupq_n_f32(x);
  for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < kSums; ++i) sum[i] = vfmaq_f32(sum[i], factor, factor);
  }
  for (int i = 1; i < kSums; ++i) sum[0] = vaddq_f32(sum[0], sum[i]);
  return vaddvq_f32(sum[0]);
}

__attribute__((target("arch=armv8.2-a+bf16"))) float multiply_add_bfloat16(float x) {
  float32x4_t sum[kSums] = {};
  const bfloat16x8_t factor = vreinterpretq_bf16_f32(vdupq_n_f32(x));
  for (int64_t step = 0; step < kSteps; ++step) {
#pragma GCC unroll 24
    for (int i = 0; i < kSums; ++i) sum[i] = vbfmmlaq_f32(sum[i], factor, factor);
  }
  for (int i = 1; i < kSums; ++i) sum[0] = vaddq_f32(sum[0], sum[i]);
  return vaddvq_f32(sum[0]);
}

}  // namespace

double measure_product_peak(DType dtype, double seconds) {
  if (dtype != DType::float32 && dtype != DType::bfloat16)
    throw Error("dtype", "productPeak: dtype must be float32 or bfloat16.");
  const bool blocks = dtype == DType::bfloat16 && bfloat16_unit();  // otherwise they are float32 products
  const double flops = (blocks ? 32.0 : 8.0) * kSums * kSteps * num_threads();
  std::vector<float> results(static_cast<size_t>(num_threads()), 0.0f);
  double best = 0;
  const Clock::time_point start = Clock::now();
  do {
    const Clock::time_point once = Clock::now();
    parallel_for(num_threads(), 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        float& result = results[static_cast<size_t>(i)];
        result = blocks ? multiply_add_bfloat16(result) : multiply_add(result);
      }
    });
    best = std::max(best, flops / std::chrono::duration<double>(Clock::now() - once).count() / 1e9);
  } while (std::chrono::duration<double>(Clock::now() - start).count() < seconds);
  return best;
}

}  // namespace te
#endif
