// Products of float32 tiles that stay in the cache: the inner loops of attention. The sides are a few dozen to a few
// hundred, where setting up a general matrix product costs as much as the product.
#pragma once
#include <algorithm>
#include <cstdint>

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

#if defined(__AVX512F__)
inline constexpr int kLanes = 16, kTileVectors = 4;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8, kTileVectors = 2;
#else
inline constexpr int kLanes = 4, kTileVectors = 2;
#endif

inline constexpr int64_t kTileRows = 6;                   // kTileRows * kTileVectors sums fill the registers
inline constexpr int64_t kPanel = kLanes * kTileVectors;  // columns of a tile
inline constexpr int64_t kPad = 16;    // rows of scratch are padded to this, so that no loop has a tail
inline constexpr int64_t kDepth = 64;  // kDepth rows of a panel fit the first-level cache

inline constexpr int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), may_alias));
typedef int32_t Lanes __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Vector& vector_at(float* p) { return *reinterpret_cast<Vector*>(p); }
inline const Vector& vector_at(const float* p) { return *reinterpret_cast<const Vector*>(p); }

// Element (i, k) of a matrix is data[i * row + k * column], so that transposing swaps two strides.
struct Strided {
  const float* data;
  int64_t row, column;
  Strided at(int64_t i, int64_t k) const { return {data + i * row + k * column, row, column}; }
};

// C[ROWS, VECTORS * kLanes] = A B, or += when `add`. Rows of B and C are aligned to vectors.
template <int ROWS, int VECTORS>
void tile_product(int64_t depth, Strided a, const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  Vector sum[ROWS][VECTORS];
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) sum[i][j] = add ? vector_at(c + i * c_row + j * kLanes) : Vector{};
  }
  const float* left = a.data;
  for (int64_t k = 0; k < depth; ++k, left += a.column, b += b_row) {
    Vector right[VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) right[j] = vector_at(b + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const float x = left[i * a.row];
#pragma GCC unroll 4
      for (int j = 0; j < VECTORS; ++j) sum[i][j] += x * right[j];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) vector_at(c + i * c_row + j * kLanes) = sum[i][j];
  }
}

template <int VECTORS>
void tile_rows(int64_t rows, int64_t depth, Strided a, const float* b, int64_t b_row, float* c, int64_t c_row,
               bool add) {
  switch (rows) {
    case 6:
      return tile_product<6, VECTORS>(depth, a, b, b_row, c, c_row, add);
    case 5:
      return tile_product<5, VECTORS>(depth, a, b, b_row, c, c_row, add);
    case 4:
      return tile_product<4, VECTORS>(depth, a, b, b_row, c, c_row, add);
    case 3:
      return tile_product<3, VECTORS>(depth, a, b, b_row, c, c_row, add);
    case 2:
      return tile_product<2, VECTORS>(depth, a, b, b_row, c, c_row, add);
    default:
      return tile_product<1, VECTORS>(depth, a, b, b_row, c, c_row, add);
  }
}

// C = A B (or += A B) for 1 to kTileRows rows and kLanes, 2 kLanes, ... kPanel columns.
inline void tile(int64_t rows, int64_t columns, int64_t depth, Strided a, const float* b, int64_t b_row, float* c,
                 int64_t c_row, bool add) {
  switch (columns / kLanes) {
    case 1:
      return tile_rows<1>(rows, depth, a, b, b_row, c, c_row, add);
    case 2:
      return tile_rows<2>(rows, depth, a, b, b_row, c, c_row, add);
    case 3:
      return tile_rows<std::min(3, kTileVectors)>(rows, depth, a, b, b_row, c, c_row, add);
    default:
      return tile_rows<kTileVectors>(rows, depth, a, b, b_row, c, c_row, add);
  }
}

// to[k][j] = from[j][k] for kLanes rows and kLanes columns. Interleaving row i with row i + kLanes/2 moves one bit of
// the row number into the column number; log2(kLanes) rounds exchange the two.
inline void transpose_square(const float* from, int64_t from_row, float* to, int64_t to_row, int64_t to_rows) {
  Lanes low, high;
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
