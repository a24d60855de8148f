// Tiles of float32 products on one thread: strips of rows of A against panels of B in the second-level cache.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/gemm/microkernel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// C[rows, columns] = A[rows, depth] B[depth, columns], or += when `add`: A and C are row-major with rows `a_row` and
// `c_row` apart, B lies in panels of kPanel columns (PanelLayout with a stack of 1).
struct FloatTile {
  int64_t rows, columns, depth;
  const float* a;
  int64_t a_row;
  const float* b;
  float* c;
  int64_t c_row;
  bool add;

  void multiply() const {
    for (int64_t i = 0; i < rows; i += kTileRows) {
      const int64_t high = std::min(kTileRows, rows - i);
      const Strided strip{a + i * a_row, a_row, 1};
      for (int64_t j = 0; j < columns; j += kPanel) {
        const float* panel = b + j * depth;
        float* at = c + i * c_row + j;
        if (j + kPanel <= columns)
          tile(high, kPanel, depth, strip, panel, kPanel, at, c_row, add);
        else
          multiply_edge(high, columns - j, strip, panel, at);
      }
    }
  }

 private:
  // The last columns, which do not fill a panel: its zeros are multiplied too, and dropped.
  void multiply_edge(int64_t high, int64_t wide, const Strided& strip, const float* panel, float* to) const {
    float sums[kTileRows * kPanel];
    tile(high, (wide + kLanes - 1) / kLanes * kLanes, depth, strip, panel, kPanel, sums, kPanel, false);
    for (int64_t i = 0; i < high; ++i, to += c_row) {
      const float* from = sums + i * kPanel;
      for (int64_t j = 0; j < wide; ++j) to[j] = add ? to[j] + from[j] : from[j];
    }
  }
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
