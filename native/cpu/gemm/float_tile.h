// Tiles of float32 products: strips of rows of A against panels of B in the second-level cache.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/gemm/microkernel.h"
#include "cpu/gemm/tile.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class FloatTile : public TileProduct {
 public:
  explicit FloatTile(const TileSpec& spec) : spec_(spec) {}

  std::string name() const override { return "float32"; }
  PanelLayout layout() const override { return {kPanel, spec_.depth, 1, (spec_.columns + kPanel - 1) / kPanel}; }

  void run(int, const void* a, const void* b, void* c, void*) const override {
    const float *left = static_cast<const float*>(a), *right = static_cast<const float*>(b);
    float* to = static_cast<float*>(c);
    for (int64_t i = 0; i < spec_.rows; i += kTileRows) {
      const int64_t rows = std::min(kTileRows, spec_.rows - i);
      for (int64_t j = 0; j < spec_.columns; j += kPanel) {
        const Strided strip{left + i * spec_.a_row, spec_.a_row, 1};
        const float* panel = right + j * spec_.depth;
        float* at = to + i * spec_.c_row + j;
        if (j + kPanel <= spec_.columns)
          tile(rows, kPanel, spec_.depth, strip, panel, kPanel, at, spec_.c_row, spec_.accumulate);
        else
          run_edge(rows, spec_.columns - j, strip, panel, at);
      }
    }
  }

 private:
  // The last columns, which do not fill a panel: its zeros are multiplied too, and dropped.
  void run_edge(int64_t rows, int64_t columns, const Strided& strip, const float* panel, float* c) const {
    float sums[kTileRows * kPanel];
    tile(rows, (columns + kLanes - 1) / kLanes * kLanes, spec_.depth, strip, panel, kPanel, sums, kPanel, false);
    for (int64_t i = 0; i < rows; ++i) {
      float* to = c + i * spec_.c_row;
      const float* from = sums + i * kPanel;
      for (int64_t j = 0; j < columns; ++j) to[j] = spec_.accumulate ? to[j] + from[j] : from[j];
    }
  }

  TileSpec spec_;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
