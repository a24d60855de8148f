// Errors of simd/math.h in units of the last place, of simd/lane_math.h relative to the result, and the exactness of
// simd/convert.h and simd/lane_pairs.h on every 16-bit code.
// te: on every level
#include "cpu/simd/math.h"

#include "cpu/simd/lane_pairs.h"
#include "test/harness.h"

using namespace te;
using namespace te::test;

namespace {

double ulp(double value) {
  const float a = std::abs(static_cast<float>(value));
  return std::max(1.4e-45, static_cast<double>(std::nextafter(a, HUGE_VALF)) - static_cast<double>(a));
}

template <class F, class G>
void check(const char* name, F simd, G exact, float low, float high, double limit) {
  constexpr int kRow = 4096;
  std::vector<float> x(kRow), y(kRow);
  std::mt19937 random(7);
  std::uniform_real_distribution<float> linear(low, high);
  double worst = 0;
  float at = 0;
  for (int round = 0; round < 100; ++round) {
    for (float& v : x) {
      v = linear(random);
      if (round & 1) v = std::clamp(v * std::exp2(-float(random() % 100)), low, high);
    }
#pragma omp simd
    for (int i = 0; i < kRow; ++i) y[i] = simd(x[i]);
    for (int i = 0; i < kRow; ++i) {
      const double wanted = exact(static_cast<double>(x[i]));
      const bool same = static_cast<float>(wanted) == y[i] || (std::isnan(wanted) && std::isnan(y[i]));
      const double error = same ? 0 : std::abs(y[i] - wanted) / ulp(wanted);
      if (!(error <= worst)) worst = error, at = x[i];
    }
  }
  std::printf("%-10s worst %.2f ulp at %g\n", name, worst, at);
  expect(worst <= limit, std::string(name) + " is not accurate enough");
}

template <class F, class G>
void check_special(const char* name, F simd, G exact, float huge = 3e38f) {
  const float inf = HUGE_VALF;
  for (float x : {0.0f, -0.0f, 1.0f, -1.0f, inf, -inf, NAN, 1e-45f, -1e-45f, 1e-38f, huge, -huge, 2.0f, -2.0f}) {
    const float got = simd(x), wanted = static_cast<float>(exact(static_cast<double>(x)));
    const bool same = (std::isnan(got) && std::isnan(wanted)) ||
                      (got == wanted && std::signbit(got) == std::signbit(wanted)) ||
                      (std::abs(got - wanted) <= 2 * ulp(wanted) && std::isfinite(got));
    char text[120];
    std::snprintf(text, sizeof text, "%s(%g) = %g, wanted %g", name, x, got, wanted);
    expect(same, text);
  }
}

#define CHECK(name, exact, low, high, limit)                                                            \
  check(                                                                                                \
      #name, [](float x) { return simd_##name(x); }, [](double x) { return exact; }, low, high, limit); \
  check_special(                                                                                        \
      #name, [](float x) { return simd_##name(x); }, [](double x) { return exact; })

template <class F, class G>
void check_lanes(const char* name, F lanes, G exact, float low, float high, double limit) {
  std::mt19937 random(7);
  std::uniform_real_distribution<float> draw(low, high);
  double worst = 0;
  for (int round = 0; round < 20000; ++round) {
    float x[kLanes], y[kLanes];
    for (float& v : x) v = draw(random) * (round & 1 ? 1.0f : 1e-2f);
    put_lanes(y, lanes(lanes_at<Lanes>(x)));
    for (int i = 0; i < kLanes; ++i) worst = std::max(worst, std::abs(y[i] / exact(static_cast<double>(x[i])) - 1));
  }
  std::printf("%-14s worst %.2g\n", name, worst);
  expect(worst <= limit, std::string(name) + " is not accurate enough");
}

template <DType T>
void check_special_lanes() {
  const float inf = HUGE_VALF;
  for (const float v : {0.0f, -1e3f, 1e3f, -3e38f, 3e38f, -inf, inf, NAN}) {
    const Lanes exponential_of = weight_exp_lanes<T>(Lanes{} + v), logistic_of = sigmoid_lanes<T>(Lanes{} + v);
    const float e = exponential_of[0], s = logistic_of[0];
    if (T == DType::bfloat16 && v == 0) {  // not exact there
      expect(std::abs(e - 1) < 1e-4f && std::abs(s - 0.5f) < 1e-4f, "near 1 and 1/2");
      continue;
    }
    expect(std::isnan(v) ? std::isnan(e) : v > 0 || e == std::exp(v), "exp of a special value");
    expect(std::isnan(v) ? std::isnan(s) : s == 1 / (1 + std::exp(-v)), "sigmoid of a special value");
  }
}

void check_lane_math() {
  const auto exponential = [](double x) { return std::exp(x); };
  const auto logistic = [](double x) { return 1 / (1 + std::exp(-x)); };
  check_lanes(
      "exp", [](Lanes x) { return weight_exp_lanes(x); }, exponential, -87, 0, 2.5e-7);
  check_lanes(
      "exp, float16", [](Lanes x) { return weight_exp_lanes<DType::float16>(x); }, exponential, -20, 0, 5e-6);
#if defined(__AVX512DQ__)
  const double kSmallLimit = 8e-6;  // rough_exp rounds x log2(e): 5e-8 |x|
#else
  const double kSmallLimit = 5e-6;
#endif
  check_lanes(
      "small exp, float16", [](Lanes x) { return weight_exp_lanes<DType::float16>(x); }, exponential, -87, 0,
      kSmallLimit);
  check_lanes(
      "exp, bfloat16", [](Lanes x) { return weight_exp_lanes<DType::bfloat16>(x); }, exponential, -87, 0, 4e-5);
  check_lanes(
      "sigmoid", [](Lanes x) { return sigmoid_lanes(x); }, logistic, -80, 80, 5e-7);
  check_lanes(
      "sigmoid, float16", [](Lanes x) { return sigmoid_lanes<DType::float16>(x); }, logistic, -80, 80, 1e-5);
  check_lanes(
      "sigmoid, bfloat16", [](Lanes x) { return sigmoid_lanes<DType::bfloat16>(x); }, logistic, -80, 80, 1e-4);
  check_special_lanes<DType::float32>();
  check_special_lanes<DType::float16>();
  check_special_lanes<DType::bfloat16>();
}

void check_pow() {
  const float inf = HUGE_VALF;
  const float special[] = {0.0f, -0.0f, 1.0f, -1.0f, inf,   -inf,   NAN,         2.0f,         -2.0f,
                           0.5f, -0.5f, 3.0f, -3.0f, 1e30f, 1e-40f, 16777217.0f, -16777216.0f, 1e10f};
  for (float x : special)
    for (float y : special) {
      const float got = simd_pow(x, y), wanted = std::pow(x, y);
      char text[120];
      std::snprintf(text, sizeof text, "pow(%g, %g) = %g, wanted %g", x, y, got, wanted);
      expect((std::isnan(got) && std::isnan(wanted)) ||
                 (std::signbit(got) == std::signbit(wanted) &&
                  (got == wanted || std::abs(double(got) - wanted) <= 1.01 * ulp(wanted))),
             text);
    }
  std::mt19937 random(3);
  std::uniform_real_distribution<float> base(0.0f, 8.0f), exponent(-20.0f, 20.0f);
  double worst = 0;
  for (int i = 0; i < 300000; ++i) {
    const float x = base(random), y = exponent(random);
    const double wanted = std::pow(double(x), double(y));
    if (wanted < 3e38) worst = std::max(worst, std::abs(simd_pow(x, y) - wanted) / ulp(wanted));
  }
  std::printf("%-10s worst %.2f ulp\n", "pow", worst);
  expect(worst <= 1, "pow is not accurate enough");
}

// Every code decodes to a float that encodes to the same code, and halfway points go to even.
template <class Code, class Decode, class Encode>
void check_codes(const char* name, int count, Decode decode, Encode encode) {
  int wrong = 0;
  for (int c = 0; c < count; ++c) {
    const Code code = static_cast<Code>(c);
    const float x = decode(code);
    if (std::isnan(x)) {
      wrong += !std::isnan(decode(encode(x)));
      continue;
    }
    wrong += encode(x) != code;
    const float next = c + 1 < count ? decode(static_cast<Code>(c + 1)) : NAN;
    if (!std::isfinite(next) || !std::isfinite(x) || std::signbit(next) != std::signbit(x)) continue;
    const float middle = static_cast<float>((double(x) + double(next)) / 2);
    wrong += encode(middle) != static_cast<Code>(c & 1 ? c + 1 : c);
    wrong += encode(std::nextafter(middle, x)) != code;
    wrong += encode(std::nextafter(middle, next)) != static_cast<Code>(c + 1);
  }
  expect(wrong == 0, std::string(name) + ": " + std::to_string(wrong) + " codes are wrong");
}

// What a step decodes of each code is its number: encoded again it gives the code. Numbers between two codes are
// rounded as those of simd/formats.h.
template <DType T, class Decode, class Encode>
void check_pairs(const char* name, Decode decode, Encode encode) {
  constexpr uint32_t kHalf = T == DType::bfloat16 ? 0x8000 : 0x1000;  // of a unit in the last place
  int wrong = 0;
  for (int first = 0; first < 65536; first += kPair)
    for (uint32_t more : {0u, kHalf - 1, kHalf, kHalf + 1}) {
      uint16_t codes[kPair], back[kPair];
      for (int i = 0; i < kPair; ++i) codes[i] = static_cast<uint16_t>(first + i);
      const auto raised = [=](float x) { return std::isfinite(x) ? bits_float(float_bits(x) + more) : x; };
      const LanePair pair = map_pair(load_pair<T>(codes, WholePair()), [=](Lanes x) {
        Lanes y = x;
        for (int i = 0; i < kLanes; ++i) y[i] = raised(x[i]);
        return y;
      });
      store_pair<T>(back, pair, WholePair());
      for (int i = 0; i < kPair; ++i) {
        const float x = decode(codes[i]);
        wrong += std::isnan(x) ? !std::isnan(decode(back[i])) : back[i] != encode(raised(x));
      }
    }
  expect(wrong == 0, std::string("pairs of ") + name + ": " + std::to_string(wrong) + " codes are wrong");
}

}  // namespace

int main() {
  CHECK(exp, std::exp(x), -104.0f, 89.0f, 1.5);
  CHECK(log, std::log(x), 0.0f, 3e38f, 1.5);
  check(
      "log near 1", [](float x) { return simd_log(x); }, [](double x) { return std::log(x); }, 0.5f, 2.0f, 1.5);
  CHECK(log1p, std::log1p(x), -0.999f, 10.0f, 2.5);
  CHECK(expm1, std::expm1(x), -20.0f, 20.0f, 2);
  CHECK(tanh, std::tanh(x), -10.0f, 10.0f, 2.5);
  CHECK(sigmoid, 1 / (1 + std::exp(-x)), -80.0f, 80.0f, 2.5);
  CHECK(erf, std::erf(x), -5.0f, 5.0f, 1.5);
  check(
      "sin", simd_sin, [](double x) { return std::sin(x); }, -1048576.0f, 1048576.0f, 1);
  check(
      "cos", simd_cos, [](double x) { return std::cos(x); }, -1048576.0f, 1048576.0f, 1);
  check_special(
      "sin", simd_sin, [](double x) { return std::sin(x); }, 1e5f);
  check_special(
      "cos", simd_cos, [](double x) { return std::cos(x); }, 1e5f);
  CHECK(floor, std::floor(x), -10.0f, 10.0f, 0);
  CHECK(ceil, std::ceil(x), -10.0f, 10.0f, 0);
  CHECK(round, std::nearbyint(x), -10.0f, 10.0f, 0);
  check(
      "erf(erf_inv)", [](float x) { return static_cast<float>(std::erf(double(simd_erf_inv(x)))); },
      [](double x) { return x; }, -0.99f, 0.99f, 8);
  check_pow();
  check_lane_math();
  check_codes<uint16_t>("float16", 65536, float16_to_float, float_to_float16);
  check_codes<uint16_t>("bfloat16", 65536, bfloat16_to_float, float_to_bfloat16);
  check_pairs<DType::float16>("float16", float16_to_float, float_to_float16);
  check_pairs<DType::bfloat16>("bfloat16", bfloat16_to_float, float_to_bfloat16);
  check_codes<uint8_t>("float8_e4m3fn", 256, float8_e4m3fn_to_float, [](float x) { return float_to_float8_e4m3fn(x); });
  check_codes<uint8_t>("float8_e5m2", 256, float8_e5m2_to_float, [](float x) { return float_to_float8_e5m2(x); });
  std::printf(failures() ? "FAILED\n" : "ok\n");
  return failures();
}
