// Scratch of attention: padded rows, and the transposition that makes panels of them.
#pragma once
#include <cstdint>

#include "cpu/gemm/microkernel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline constexpr int64_t kPad = 16;    // rows of scratch are padded to this, so that no loop has a tail
inline constexpr int64_t kDepth = 64;  // kDepth rows of a panel fit the first-level cache

inline constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

typedef int32_t Places __attribute__((vector_size(kLanes * sizeof(int32_t))));

// to[k][j] = from[j][k] for kLanes rows and kLanes columns. Interleaving row i with row i + kLanes/2 moves one bit of
// the row number into the column number; log2(kLanes) rounds exchange the two.
inline void transpose_square(const float* from, int64_t from_row, float* to, int64_t to_row, int64_t to_rows) {
  Places low, high;
  for (int i = 0; i < kLanes; ++i) {
    low[i] = i / 2 + i % 2 * kLanes;
    high[i] = low[i] + kLanes / 2;
  }
  Vector x[kLanes], y[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) x[i] = vector_at(from + i * from_row);
#pragma GCC unroll 4
  for (int round = 1; round < kLanes; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      y[2 * i] = __builtin_shuffle(x[i], x[i + kLanes / 2], low);
      y[2 * i + 1] = __builtin_shuffle(x[i], x[i + kLanes / 2], high);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) x[i] = y[i];
  }
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) {
    if (i < to_rows) vector_at(to + i * to_row) = x[i];
  }
}

// The kLanes rows of `columns` numbers at `from` (padded to kPad) become kLanes columns of `to`.
inline void transpose_rows(const float* from, int64_t from_row, int64_t columns, float* to, int64_t to_row) {
  for (int64_t k = 0; k < columns; k += kLanes)
    transpose_square(from + k, from_row, to + k * to_row, to_row, columns - k);
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
