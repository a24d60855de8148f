// One tile of a matrix product on one thread: C[rows, columns] = or += A[rows, depth] B[depth, columns].
//
// Threads, conversions and layouts are the caller's business: it splits a product into tiles, brings B into the layout
// that the tile wants and runs many tiles at a time. bfloat16 tiles are oneDNN's (its own threading would need whole
// matrices in one format; bfloat16_tile.cc); float32 tiles are those of float_tile.h: oneDNN's general product
// would pack once more what was packed here to decode or transpose it.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "te/dtype.h"

namespace te {

// How a tile lies in memory. A is row-major with rows `a_row` apart, C with rows `c_row` apart. A and B are float32 or
// both bfloat16 (sums are float32 either way); C is float32, or bfloat16 when A and B are.
struct TileSpec {
  int64_t rows, columns, depth;
  DType result;
  int64_t a_row, c_row;
  bool accumulate;
};

// The layout of B: panels of `width` columns, one after the other, and in a panel `depth / stack` lines of `width`
// groups of `stack` successive rows: element (k, j) is at
//   j / width * (width * depth) + k / stack * (width * stack) + j % width * stack + k % stack.
// What lies beyond the matrix in either direction is zero.
struct PanelLayout {
  int64_t width = 0, depth = 0, stack = 1;
  int64_t panels = 0;
  int64_t size() const { return width * depth * panels; }
  bool operator==(const PanelLayout&) const = default;
};

class TileProduct {
 public:
  virtual ~TileProduct() = default;
  virtual PanelLayout layout() const = 0;
  virtual std::string name() const = 0;
  virtual size_t scratch_bytes() const { return 0; }
  virtual void run(int piece, const void* a, const void* b, void* c, void* scratch) const = 0;
};

// nullptr when oneDNN has nothing fast for this tile on this processor. `pieces` is how many threads may run at once.
std::unique_ptr<TileProduct> create_bfloat16_tile(const TileSpec& spec, int pieces);

// True when bfloat16 products have instructions of their own and are not slower than float32 ones.
bool native_bfloat16();

// For tests: makes every product prepared from now on use bfloat16 (1) or float32 (0) for operands that bfloat16 holds
// exactly; -1 restores the choice by processor.
void force_bfloat16_products(int choice);

}  // namespace te
