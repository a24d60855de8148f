// For kernel tests: relative error measures against double-precision results, and a timing that takes turns with memcpy
// so that a busy machine slows both alike.
#pragma once
#include <time.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "test/harness.h"

namespace te::test {

using Values = std::vector<double>;

inline constexpr DType kFloats[] = {DType::float32, DType::bfloat16, DType::float16};
inline constexpr int64_t kWidths[] = {1, 11, 31, 32, 33, 257, 768};

// Limits of ||t - r|| / ||r|| for a result rounded once.
inline double rounding_limit(DType t) { return t == DType::bfloat16 ? 3e-3 : t == DType::float16 ? 4e-4 : 2e-6; }

// Checks N = ||got - wanted||_2 / ||wanted||_2 and X = max|got - wanted| / max|wanted|. NaN must meet NaN and infinity
// the same infinity; they take no part in the norms.
inline void expect_norms(const Op& op, const std::string& what, int output, const Values& wanted, double limit_n,
                         double limit_x) {
  const Values got = op.out(output);
  double difference = 0, size = 0, worst = 0, largest = 0;
  bool same_special = got.size() == wanted.size();
  for (size_t i = 0; same_special && i < got.size(); ++i) {
    if (!std::isfinite(wanted[i]) || !std::isfinite(got[i])) {
      same_special = got[i] == wanted[i] || (std::isnan(got[i]) && std::isnan(wanted[i]));
      continue;
    }
    const double d = got[i] - wanted[i];
    difference += d * d;
    size += wanted[i] * wanted[i];
    worst = std::max(worst, std::abs(d));
    largest = std::max(largest, std::abs(wanted[i]));
  }
  const double n = difference == 0 ? 0 : std::sqrt(difference / size), x = worst == 0 ? 0 : worst / largest;
  char text[240];
  std::snprintf(text, sizeof text, "%s %s output %d: N %.3g (limit %.1g), X %.3g (limit %.1g)%s", op.node.op.c_str(),
                what.c_str(), output, n, limit_n, x, limit_x, same_special ? "" : ", NaN or infinity or size differs");
  expect(same_special && n <= limit_n && x <= limit_x, text);
}

inline void expect_rounded(const Op& op, const std::string& what, int output, const Values& wanted) {
  const double n = rounding_limit(op.node.outputs[output].dtype);
  expect_norms(op, what, output, wanted, n, 5 * n);
}

// Every element equal to the wanted one (NaN to NaN).
inline void expect_exact(const Op& op, const std::string& what, int output, const Values& wanted) {
  const Values got = op.out(output);
  size_t bad = got.size() == wanted.size() ? 0 : 1, first = 0;
  for (size_t i = 0; i < std::min(got.size(), wanted.size()); ++i) {
    const bool same = got[i] == wanted[i] || (std::isnan(got[i]) && std::isnan(wanted[i]));
    if (!same && bad++ == 0) first = i;
  }
  char text[240];
  std::snprintf(text, sizeof text, "%s %s output %d: %zu of %zu elements differ, first %zu: %g, wanted %g",
                op.node.op.c_str(), what.c_str(), output, bad, got.size(), first, got.empty() ? 0 : got[first],
                wanted.empty() ? 0 : wanted[first]);
  expect(bad == 0, text);
}

inline void expect_close_to(const std::string& what, double got, double wanted, double relative) {
  char text[160];
  std::snprintf(text, sizeof text, "%s: %.9g, wanted %.9g", what.c_str(), got, wanted);
  expect(std::abs(got - wanted) <= relative * std::abs(wanted), text);
}

// Values as float8 of dtype t holds them, clipped to the largest finite number first.
inline void round_to_float8(DType t, std::vector<float>& values) {
  std::vector<uint8_t> codes(values.size());
  const int64_t n = static_cast<int64_t>(values.size());
  store_row(t, values.data(), n, codes.data(), true);
  load_row(t, codes.data(), n, values.data());
}

// N03: at least 99.99 % of the float8 results are the wanted ones, the rest differ by one code.
inline void expect_codes_close(const Op& op, const std::string& what, int output, const std::vector<float>& wanted) {
  const Values got = op.out(output);
  int64_t different = 0, far = 0;
  for (size_t i = 0; i < got.size(); ++i) {
    const double gap = std::abs(got[i] - wanted[i]), size = std::max(std::abs(got[i]), double(std::abs(wanted[i])));
    different += gap != 0;
    far += gap > 0.26 * size + 1.0 / 64;
  }
  const bool few = static_cast<double>(different) <= 1 + 1e-4 * static_cast<double>(got.size());
  expect(got.size() == wanted.size() && far == 0 && few, op.node.op + " " + what + ": " + std::to_string(different) +
                                                             " codes differ, " + std::to_string(far) +
                                                             " by more than one");
}

inline std::string label(DType t, const Shape& shape) {
  std::string text = std::string(dtype_name(t)) + "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i) text += ',';
    text += std::to_string(shape[i]);
  }
  return text += ']';
}

// The code and message of the te::Error that the body throws, as "code: message"; "" when it throws none.
template <class Body>
std::string error_of(const Body& body) {
  try {
    body();
  } catch (const Error& e) {
    return e.code + ": " + e.what();
  }
  return "";
}

// A clock in nanoseconds: of this thread's processor time when there is one thread, so that other programs do not
// count.
inline double clock_ns() {
  timespec now;
  clock_gettime(num_threads() == 1 ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &now);
  return 1e9 * static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec);
}

// TE_TIMES=0 skips all that is timed.
inline bool wants_times() {
  const char* wish = std::getenv("TE_TIMES");
  return !wish || *wish != '0';
}

// Best time of the op and of a memcpy of as many bytes, measured in turns.
inline void race(Op& op, const std::string& what, size_t moved = 0) {
  if (!wants_times()) return;
  if (moved == 0) moved = op.bytes();
  const int64_t half = static_cast<int64_t>(std::max<size_t>(moved / 2, 64));
  Memory from(static_cast<size_t>(half)), to(static_cast<size_t>(half));
  const auto ns = [](auto body) {
    const double start = clock_ns();
    body();
    return clock_ns() - start;
  };
  op.run();
  double best = 1e300, copy = 1e300;
  const double stop = clock_ns() + 3e8;
  for (int round = 0; round < 5 || clock_ns() < stop; ++round) {
    copy = std::min(copy, ns([&] {
                      parallel_for(half, 1 << 16, [&](int64_t a, int64_t b) {
                        std::memcpy(to.as<char>() + a, from.as<char>() + a, static_cast<size_t>(b - a));
                      });
                    }));
    best = std::min(best, ns([&] { op.run(); }));
  }
  const double size = static_cast<double>(moved);
  std::printf("%-24s %-34s %9.1f us %6.2f GB/s, copy %6.2f GB/s, share %.2f\n", op.node.op.c_str(), what.c_str(),
              best / 1e3, size / best, size / copy, copy / best);
}

}  // namespace te::test
