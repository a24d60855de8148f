// How a product is cut into tiles.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

namespace te {

inline constexpr int64_t round_up_to(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
inline constexpr int64_t divide_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

struct Tiling {
  int64_t batches = 0, m = 0, n = 0;
  int64_t rows = 1, columns = 1;  // of a tile; the last ones may be smaller
  int64_t row_blocks() const { return divide_up(m, rows); }
  int64_t column_blocks() const { return divide_up(n, columns); }
  int64_t last_rows() const { return m - (row_blocks() - 1) * rows; }
  int64_t last_columns() const { return n - (column_blocks() - 1) * columns; }
  int64_t items() const { return batches * row_blocks() * column_blocks(); }
};

struct TilingProblem {
  int64_t batches, m, n, k;
  int threads;
  bool pack_left;
};

// Time of the busiest thread, in products of one row by one column. The constants were measured: a tile of r rows runs
// at r / (r + 28) of the full speed, packing a column of B costs as much as 22 rows, a row of A as much as 16 columns.
inline double tiling_cost(const TilingProblem& problem, const Tiling& tiling) {
  const double items = static_cast<double>(divide_up(tiling.items(), problem.threads));
  const double column_blocks = static_cast<double>(divide_up(static_cast<int64_t>(items), tiling.row_blocks()));
  const double rows = static_cast<double>(tiling.rows), columns = static_cast<double>(tiling.columns);
  return items * ((rows + 28) * columns + (problem.pack_left ? 16 * rows : 0)) + column_blocks * 22 * columns;
}

// Tiles as large as the second-level cache likes, evenly cut, that keep all threads busy.
inline Tiling choose_tiling(const TilingProblem& problem) {
  constexpr int64_t kMostFloats = 8 << 20;  // of a packed part of A or B
  Tiling best;
  double best_cost = std::numeric_limits<double>::infinity();
  for (int64_t rows : {256, 192, 128, 64, 32}) {
    for (int64_t columns : {512, 384, 256, 128, 64}) {
      if (std::max(rows, columns) * problem.k > kMostFloats && columns > 64 && rows > 32) continue;
      Tiling tiling{problem.batches, problem.m, problem.n, rows, columns};
      tiling.rows = std::min(problem.m, round_up_to(divide_up(problem.m, tiling.row_blocks()), 16));
      tiling.columns = std::min(problem.n, round_up_to(divide_up(problem.n, tiling.column_blocks()), 64));
      const double cost = tiling_cost(problem, tiling);
      if (cost < best_cost) {
        best_cost = cost;
        best = tiling;
      }
    }
  }
  return best;
}

// Columns of a tile of a small product: whole cache lines of sums that stay in the first-level cache.
inline int64_t small_columns(int64_t batches, int64_t n, int threads) {
  constexpr int64_t kMost = 512;
  const int64_t share = batches >= threads ? n : divide_up(n, threads);
  return std::min(n, std::min(kMost, round_up_to(share, 64)));
}

}  // namespace te
