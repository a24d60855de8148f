// Cache blocking: how a large product is cut for the caches and the threads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <limits>

namespace te {

inline constexpr int64_t round_up_to(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
inline constexpr int64_t divide_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit; }

// A length in pieces of `unit`; the last piece may be shorter.
struct Cut {
  int64_t length = 0, unit = 1;
  int64_t pieces() const { return divide_up(length, unit); }
  int64_t size(int64_t piece) const { return std::min(unit, length - piece * unit); }
};

// Pieces of about the same size, at most `most` and a multiple of `grain`.
inline Cut cut_evenly(int64_t length, int64_t most, int64_t grain) {
  const int64_t pieces = std::max<int64_t>(1, divide_up(length, most));
  return {length, std::max<int64_t>(1, std::min(length, round_up_to(divide_up(length, pieces), grain)))};
}

// A tile is what is multiplied at once. A block is a rectangle of tiles that one thread computes alone: for each
// stretch of the depth it packs its rows of A, and for each column of tiles its columns of B.
struct Blocking {
  Cut rows, columns, depth;       // tiles
  Cut block_rows, block_columns;  // blocks, counted in tiles
  int64_t batches = 1;
  int64_t blocks() const { return batches * block_rows.pieces() * block_columns.pieces(); }
};

struct BlockingProblem {
  int64_t batches, m, n, k;
  int threads;
  int64_t element_bytes;  // of packed operands
  double pack_a, pack_b;  // cost of packing a number, in multiplications
  bool sums_in_block;     // sums over several stretches of the depth need memory for the whole block
};

// The largest tiles: packed columns that stay in the second-level cache. One of r rows runs at 1 / (1 + row_cost / r)
// of the full speed, and is best a multiple of `strip`. What it costs to pack a number is counted in multiplications:
// of A along its rows and across them, and of B.
struct TileLimits {
  int64_t rows, columns, depth_bytes;
  double row_cost;
  int64_t strip;
  double pack_rows, pack_columns, pack_panels;
};
inline constexpr TileLimits kBfloat16Limits = {256, 512, 1024, 8, 32, 50, 100, 80};
inline constexpr TileLimits kFloatLimits = {96, 256, 2048, 3, 16, 16, 30, 25};  // half a strip is lost at the end

// Threads that are done wait for one that another process holds up, as long as its block takes.
inline double risk_of_waiting(int64_t blocks, int threads) {
  constexpr double kShare = 0.04, kEnough = 4;
  return threads == 1 ? 1 : 1 + kShare * std::max(0.0, kEnough * threads / static_cast<double>(blocks) - 1);
}

inline Blocking choose_blocking(const BlockingProblem& p, const TileLimits& limits) {
  constexpr int64_t kBlockBytes = 8 << 20;  // of packed rows and of sums, for the third-level cache
  Blocking blocking;
  blocking.batches = p.batches;
  blocking.depth = cut_evenly(p.k, limits.depth_bytes / p.element_bytes, 32);
  double best = std::numeric_limits<double>::infinity();
  for (int64_t tile_rows = limits.rows; tile_rows >= 48; tile_rows /= 2) {
    for (int64_t tile_columns = limits.columns; tile_columns >= 64; tile_columns /= 2) {
      const Cut rows = cut_evenly(p.m, tile_rows, limits.strip), columns = cut_evenly(p.n, tile_columns, 64);
      // Blocks of all heights; for each, the widest that still gives every thread its share.
      for (int64_t tall = rows.pieces(); tall >= 1; tall = tall > 1 ? divide_up(tall, 2) : 0) {
        for (int64_t wide = columns.pieces(); wide >= 1; wide = wide > 1 ? divide_up(wide, 2) : 0) {
          Blocking t{rows, columns, blocking.depth, {rows.pieces(), tall}, {columns.pieces(), wide}, p.batches};
          const double height = static_cast<double>(std::min(p.m, tall * rows.unit));
          const double width = static_cast<double>(std::min(p.n, wide * columns.unit));
          const bool fits =
              (p.pack_a == 0 || height * static_cast<double>(t.depth.unit * p.element_bytes) <= kBlockBytes) &&
              (!p.sums_in_block || t.depth.pieces() == 1 || height * width * 4 <= kBlockBytes);
          if (!fits && (tall > 1 || wide > 1)) continue;
          const double slow = 1 + limits.row_cost / static_cast<double>(rows.unit);
          const double cost = static_cast<double>(divide_up(t.blocks(), p.threads)) *
                              (height * width * slow + height * p.pack_a + width * p.pack_b) *
                              risk_of_waiting(t.blocks(), p.threads);
          if (cost < best) {
            best = cost;
            blocking = t;
          }
        }
      }
    }
  }
  return blocking;
}

}  // namespace te
