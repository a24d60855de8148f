// How the right operand of a tile of a matrix product lies in memory.
#pragma once
#include <cstdint>

namespace te {

// Panels of `width` columns, one after the other, and in a panel `depth / stack` lines of `width` groups of `stack`
// successive rows: element (k, j) is at
//   j / width * (width * depth) + k / stack * (width * stack) + j % width * stack + k % stack.
// What lies beyond the matrix in either direction is zero.
struct PanelLayout {
  int64_t width = 0, depth = 0, stack = 1;
  int64_t panels = 0;
  int64_t size() const { return width * depth * panels; }
};

}  // namespace te
