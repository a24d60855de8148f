// What multiplies bfloat16 on this processor: its matrix unit, or its dot products of pairs.
#pragma once
#include <cstdint>
#include <string>

namespace te {

// Columns of a panel of packed pairs.
inline constexpr int64_t kPairPanel = 32;

// The end of a product whose sums are complete: result = bfloat16(sums * scale + bias) instead of the sums, where there
// is a result. What is subnormal may become zero.
struct Rounding {
  uint16_t* result = nullptr;  // rows `row` numbers apart
  int64_t row = 0;
  float scale = 1;
  const float* bias = nullptr;  // of each column, or none
};

// C[rows, columns] = A[rows, depth] B[depth, columns], or += when `add`, on one thread, all three at least 1. Sums
// are float32; subnormal numbers count as zero.
//
// A is row-major with rows `a_row` apart; an odd depth is followed by a zero in every row. B lies in panels of
// kPairPanel columns, `b_panel` apart, of lines of pairs of successive rows: element (k, j) is at
//   j / kPairPanel * b_panel + k / 2 * (2 * kPairPanel) + j % kPairPanel * 2 + k % 2,
// and what lies beyond the matrix is zero up to whole pairs and panels. At most half a panel of columns may begin in
// the middle of one, whose other columns hold anything: b is the place of the first. C has rows `c_row` apart; nothing
// is written beyond its columns.
struct Bfloat16Product {
  int64_t rows, columns, depth;
  const uint16_t* a;
  int64_t a_row;
  const uint16_t* b;
  int64_t b_panel;
  float* c;
  int64_t c_row;
  bool add;
  Rounding rounding;
};

struct Bfloat16Unit {
  const char* name;
  void (*multiply)(const Bfloat16Product& product);
  bool rounds = false;  // whether it takes a Rounding
};

// The units that exist in the code, each nullptr where this processor or system lacks it.
const Bfloat16Unit* amx_unit();          // tiles of the matrix unit
const Bfloat16Unit* avx512_bf16_unit();  // dot products of pairs on vectors
const Bfloat16Unit* neon_bf16_unit();    // matrices of arm64 in vectors
const Bfloat16Unit* portable_unit();     // for tests: the definition, everywhere

// The unit that products use, or nullptr where float32 is the faster way.
const Bfloat16Unit* bfloat16_unit();

// For tests: makes every kernel prepared from now on use the unit of this name, or none for "none"; "" restores the
// choice by processor. False, and no change, where there is no such unit.
bool force_bfloat16_unit(const std::string& name);

}  // namespace te
