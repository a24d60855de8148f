// The bfloat16 units of this processor against the definition; with an argument, their speed on one thread.
#include "cpu/gemm/bfloat16_unit.h"

#include <chrono>
#include <cmath>
#include <vector>

#include "cpu/simd/formats.h"
#include "te/settings.h"
#include "test/harness.h"

using namespace te;
using namespace te::isa_scalar;
using test::Memory;

namespace {

struct Sizes {
  int64_t rows, columns, depth;
  std::string text() const {
    return std::to_string(rows) + "x" + std::to_string(columns) + "x" + std::to_string(depth);
  }
};

int64_t padded(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

// Small whole numbers: sums are exact in any order, so that all units give the same bits.
float drawn(int64_t i) { return static_cast<float>(i * 7919 % 31 - 15); }

// first: where the columns begin in their panel, among others that are no numbers.
void check(const Bfloat16Unit& unit, const Sizes& s, bool add, int64_t first = 0) {
  const int64_t deep = padded(s.depth, 2), a_row = deep + 6, c_row = s.columns + 3, panel = deep * kPairPanel;
  Memory a(static_cast<size_t>((s.rows * a_row - 6) * 2)),
      b(static_cast<size_t>(padded(first + s.columns, kPairPanel) * deep * 2));
  Memory c(static_cast<size_t>((s.rows * c_row - 3) * 4));
  std::memset(b.as(), first ? 0xff : 0, b.size);
  const auto left = [&](int64_t i, int64_t k) { return drawn(i * s.depth + k + 1); };
  const auto right = [&](int64_t k, int64_t j) { return drawn(k * s.columns + j + 5); };
  for (int64_t i = 0; i < s.rows; ++i)
    for (int64_t k = 0; k < deep; ++k)
      a.as<uint16_t>()[i * a_row + k] = float_to_bfloat16(k < s.depth ? left(i, k) : 0);
  uint16_t* from = b.as<uint16_t>() + first * 2;
  for (int64_t k = 0; k < deep; ++k)
    for (int64_t j = 0; j < s.columns; ++j)
      from[j / kPairPanel * panel + k / 2 * 2 * kPairPanel + j % kPairPanel * 2 + k % 2] =
          float_to_bfloat16(k < s.depth ? right(k, j) : 0);
  float* to = c.as<float>();
  for (int64_t i = 0; i < s.rows * c_row - 3; ++i) to[i] = 1000;
  unit.multiply({s.rows, s.columns, s.depth, a.as<uint16_t>(), a_row, from, panel, to, c_row, add});
  bool same = a.intact() && b.intact() && c.intact();
  for (int64_t i = 0; i < s.rows * c_row - 3; ++i) {
    const int64_t row = i / c_row, column = i % c_row;
    float wanted = add || column >= s.columns ? 1000 : 0;
    for (int64_t k = 0; k < s.depth && column < s.columns; ++k) wanted += left(row, k) * right(k, column);
    same = same && to[i] == wanted;
  }
  test::expect(same, std::string(unit.name) + " " + s.text() + (add ? " added" : "") +
                         (first ? " in the middle of a panel" : ""));
}

// What a unit rounds itself: the bits of the sums that it gives, scaled, with the bias, and nothing beside them.
void check_rounding(const Bfloat16Unit& unit, const Sizes& s, bool add, bool biased) {
  const int64_t deep = padded(s.depth, 2), panel = deep * kPairPanel, row = s.columns + 5;
  Memory a(static_cast<size_t>(s.rows * deep * 2)), b(static_cast<size_t>(padded(s.columns, kPairPanel) * deep * 2));
  Memory sums(static_cast<size_t>(s.rows * s.columns * 4)), bias(static_cast<size_t>(s.columns * 4));
  Memory result(static_cast<size_t>((s.rows * row - 5) * 2));
  for (int64_t i = 0; i < s.rows * deep; ++i)
    a.as<uint16_t>()[i] = float_to_bfloat16(i % deep < s.depth ? drawn(i) / 3 : 0);
  for (size_t i = 0; i < b.size / 2; ++i) b.as<uint16_t>()[i] = float_to_bfloat16(drawn(static_cast<int64_t>(i) + 5));
  for (int64_t i = 0; i < s.columns; ++i) bias.as<float>()[i] = drawn(i + 3);
  const auto start = [&] {
    for (int64_t i = 0; i < s.rows * s.columns; ++i) sums.as<float>()[i] = drawn(i);
  };
  Bfloat16Product product{s.rows,           s.columns, s.depth,          a.as<uint16_t>(), deep,
                          b.as<uint16_t>(), panel,     sums.as<float>(), s.columns,        add};
  start();
  unit.multiply(product);
  // Codes with one rounding before the last, and with two: units may multiply and add at once.
  std::vector<uint16_t> once(result.size / 2, 0x1234), twice = once;
  for (int64_t i = 0; i < s.rows; ++i)
    for (int64_t j = 0; j < s.columns; ++j) {
      const float sum = sums.as<float>()[i * s.columns + j], added = biased ? bias.as<float>()[j] : 0.0f;
      const volatile float product = sum * 0.37f;
      once[static_cast<size_t>(i * row + j)] = float_to_bfloat16(std::fma(sum, 0.37f, added));
      twice[static_cast<size_t>(i * row + j)] = float_to_bfloat16(product + added);
    }
  start();
  std::fill_n(result.as<uint16_t>(), result.size / 2, uint16_t{0x1234});
  product.rounding = {result.as<uint16_t>(), row, 0.37f, biased ? bias.as<float>() : nullptr};
  unit.multiply(product);
  bool same = true;
  for (size_t i = 0; i < once.size(); ++i)
    same = same && (result.as<uint16_t>()[i] == once[i] || result.as<uint16_t>()[i] == twice[i]);
  test::expect(
      same && result.intact() && sums.intact() && bias.intact(),
      std::string(unit.name) + " " + s.text() + " rounded" + (add ? ", added" : "") + (biased ? ", biased" : ""));
}

void speed(const Bfloat16Unit& unit, const Sizes& s) {
  Memory a(static_cast<size_t>(s.rows * s.depth * 2)), b(static_cast<size_t>(s.columns * s.depth * 2));
  Memory c(static_cast<size_t>(s.rows * s.columns * 4));
  for (Memory* memory : {&a, &b, &c}) std::memset(memory->as(), 0, memory->size);
  double best = 1e9;
  for (int i = 0; i < 50; ++i) {
    const auto start = std::chrono::steady_clock::now();
    unit.multiply({s.rows, s.columns, s.depth, a.as<uint16_t>(), s.depth, b.as<uint16_t>(), s.depth * kPairPanel,
                   c.as<float>(), s.columns, true});
    best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  std::printf("%s %s: %.0f GFLOP/s\n", unit.name, s.text().c_str(),
              2.0 * static_cast<double>(s.rows * s.columns * s.depth) / best / 1e9);
}

}  // namespace

int main(int argc, char**) {
  // Whoever chooses an instruction set for tests chooses one that the processor has.
  active_isa();
  for (const std::string& problem : problems()) test::expect(problem.rfind("TE_CPU_ISA", 0) != 0, problem);
  for (const Bfloat16Unit* unit : {amx_unit(), avx512_bf16_unit(), neon_bf16_unit(), portable_unit()}) {
    if (!unit) continue;
    for (int64_t rows : {1, 11, 12, 16, 17, 31, 32, 33, 64, 70})
      for (int64_t columns : {1, 15, 16, 17, 32, 40, 96, 100})
        for (int64_t depth : {1, 2, 31, 32, 33, 64, 70})
          for (bool add : {false, true}) {
            check(*unit, {rows, columns, depth}, add);
            if (columns <= kPairPanel / 2) check(*unit, {rows, columns, depth}, add, kPairPanel / 2);
            for (bool biased : {false, true})
              if (unit->rounds) check_rounding(*unit, {rows, columns, depth}, add, biased);
          }
    if (argc < 2 || unit == portable_unit()) continue;
    for (const Sizes& s : {Sizes{256, 512, 512}, {128, 512, 512}, {256, 512, 1024}, {64, 256, 64}, {64, 64, 256}})
      speed(*unit, s);
  }
  return test::failures();
}
