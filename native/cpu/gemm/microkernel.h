// The microkernel of float32 products: a few rows times a panel of columns, with all sums in registers. Products of
// matrices (dot) and attention are made of these tiles.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/simd/vector_width.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline constexpr int64_t kTileRows = 6;  // kTileRows * kTileVectors sums fill the registers
#if defined(__AVX512F__) || defined(__ARM_NEON)
inline constexpr int kTileVectors = 4;
#else
inline constexpr int kTileVectors = 2;
#endif
inline constexpr int64_t kPanel = kLanes * kTileVectors;  // columns of a tile

typedef float Vector __attribute__((vector_size(kLanes * sizeof(float)), may_alias));
typedef float LooseVector __attribute__((vector_size(kLanes * sizeof(float)), may_alias, aligned(4)));

inline Vector& vector_at(float* p) { return *reinterpret_cast<Vector*>(p); }
inline const Vector& vector_at(const float* p) { return *reinterpret_cast<const Vector*>(p); }
inline LooseVector& loose_vector_at(float* p) { return *reinterpret_cast<LooseVector*>(p); }

// Element (i, k) of a matrix is data[i * row + k * column], so that transposing swaps two strides.
struct Strided {
  const float* data;
  int64_t row, column;
  Strided at(int64_t i, int64_t k) const { return {data + i * row + k * column, row, column}; }
};

// Rows of A that lie along the depth, times a packed panel: the strides are constants.
template <int ROWS>
struct PackedPair {
  const float* left[ROWS];
  const float* right;
  PackedPair(const Strided& a, const float* b, int64_t) : right(b) {
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) left[i] = a.data + i * a.row;
  }
  float a(int i, int64_t k, int step) const { return left[i][k + step]; }
  const float* b(int step) const { return right + step * kPanel; }
  void advance(int steps) { right += steps * kPanel; }
};

template <int ROWS>
struct StridedPair {
  Strided left;
  const float* right;
  int64_t right_row;
  StridedPair(const Strided& a, const float* b, int64_t b_row) : left(a), right(b), right_row(b_row) {}
  float a(int i, int64_t, int step) const { return left.data[i * left.row + step * left.column]; }
  const float* b(int step) const { return right + step * right_row; }
  void advance(int steps) {
    left.data += steps * left.column;
    right += steps * right_row;
  }
};

// sum += A[ROWS, STEPS] B[STEPS, VECTORS * kLanes]: one load per vector of B and one broadcast per element of A. The
// number of instructions is what limits the speed, above all where two threads share a core.
template <int STEPS, int ROWS, int VECTORS, class Pair>
inline __attribute__((always_inline)) void tile_steps(const Pair& pair, int64_t k, Vector (&sum)[ROWS][VECTORS]) {
#pragma GCC unroll 4
  for (int s = 0; s < STEPS; ++s) {
    Vector right[VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) right[j] = vector_at(pair.b(s) + j * kLanes);
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const float x = pair.a(i, k, s);
#pragma GCC unroll 4
      for (int j = 0; j < VECTORS; ++j) sum[i][j] += x * right[j];
    }
  }
}

// C[ROWS, VECTORS * kLanes] = A B, or += when `add`. Rows of B are aligned to vectors.
template <int ROWS, int VECTORS, class Pair>
void microkernel(int64_t depth, const Strided& a, const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  constexpr int kSteps = 4;
  Pair pair(a, b, b_row);
  Vector sum[ROWS][VECTORS] = {};
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) __builtin_prefetch(c + i * c_row + j * kLanes, 1);
  }
  int64_t k = 0;
  for (; k + kSteps <= depth; k += kSteps, pair.advance(kSteps)) tile_steps<kSteps>(pair, k, sum);
  for (; k < depth; ++k, pair.advance(1)) tile_steps<1>(pair, k, sum);
#pragma GCC unroll 8
  for (int i = 0; i < ROWS; ++i, c += c_row) {
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; ++j) {
      LooseVector& to = loose_vector_at(c + j * kLanes);
      to = add ? to + sum[i][j] : sum[i][j];
    }
  }
}

template <int ROWS, int VECTORS>
void tile_strides(int64_t depth, const Strided& a, const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  const bool packed = a.column == 1 && b_row == kPanel;
  const auto product =
      packed ? microkernel<ROWS, VECTORS, PackedPair<ROWS>> : microkernel<ROWS, VECTORS, StridedPair<ROWS>>;
  product(depth, a, b, b_row, c, c_row, add);
}

template <int VECTORS>
void tile_rows(int64_t rows, int64_t depth, const Strided& a, const float* b, int64_t b_row, float* c, int64_t c_row,
               bool add) {
  switch (rows) {
    case 6:
      return tile_strides<6, VECTORS>(depth, a, b, b_row, c, c_row, add);
    case 5:
      return tile_strides<5, VECTORS>(depth, a, b, b_row, c, c_row, add);
    case 4:
      return tile_strides<4, VECTORS>(depth, a, b, b_row, c, c_row, add);
    case 3:
      return tile_strides<3, VECTORS>(depth, a, b, b_row, c, c_row, add);
    case 2:
      return tile_strides<2, VECTORS>(depth, a, b, b_row, c, c_row, add);
    default:
      return tile_strides<1, VECTORS>(depth, a, b, b_row, c, c_row, add);
  }
}

// C = A B (or += A B) for 1 to kTileRows rows and kLanes, 2 kLanes, ... kPanel columns.
inline void tile(int64_t rows, int64_t columns, int64_t depth, const Strided& a, const float* b, int64_t b_row,
                 float* c, int64_t c_row, bool add) {
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

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
