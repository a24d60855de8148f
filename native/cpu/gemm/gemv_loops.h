// Inner loops of products that are too small, or have too few rows, to be packed: B is read once, as it lies in memory.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/gemm/pack.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline constexpr int64_t kGroup = 8;      // rows of A that share a reading of B
inline constexpr int64_t kDepthStep = 4;  // rows of B per visit of the sums

inline Floats floats_at(const float* from) { return as_floats(load_words(from)); }

// Rows of A. There may be fewer than the loops compute; the last one then stands in for those that are missing, and the
// sums have room for them.
template <int ROWS>
struct Group {
  const float* row[ROWS];
  Group(const float* a, int64_t a_row, int64_t rows) {
    for (int64_t i = 0; i < ROWS; ++i) row[i] = a + std::min(i, rows - 1) * a_row;
  }
};

// C[ROWS, columns] += A[ROWS, STEPS] B[STEPS, columns] from depth k on; B has contiguous rows.
template <DType T, int ROWS, int STEPS>
void wide_step(const Group<ROWS>& a, int64_t k, const char* b, int64_t b_row_bytes, int64_t columns, float* c,
               int64_t c_row) {
  constexpr int64_t kBytes = static_cast<int64_t>(dtype_bytes(T));
  const auto accumulate = [&](int64_t j, const auto& load) {
    Floats right[STEPS];
#pragma GCC unroll 4
    for (int s = 0; s < STEPS; ++s) right[s] = as_floats(load(b + s * b_row_bytes + j * kBytes));
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      Floats sum = floats_at(c + i * c_row + j);
#pragma GCC unroll 4
      for (int s = 0; s < STEPS; ++s) sum += a.row[i][k + s] * right[s];
      store_words(c + i * c_row + j, as_words(sum));
    }
  };
  int64_t j = 0;
  for (; j + kSquare <= columns; j += kSquare) accumulate(j, load_floats<T>);
  if (j < columns)
    accumulate(j, [&](const char* from) { return load_partial(from, (columns - j) * kBytes, load_floats<T>); });
}

template <DType T, int ROWS>
void wide_rows(const Group<ROWS>& a, const DotView& b, int64_t depth, int64_t columns, float* c, int64_t c_row) {
  const int64_t b_row_bytes = b.inner_step * static_cast<int64_t>(dtype_bytes(T));
  std::memset(c, 0, static_cast<size_t>(ROWS * c_row) * 4);
  int64_t k = 0;
  for (; k + kDepthStep <= depth; k += kDepthStep)
    wide_step<T, ROWS, kDepthStep>(a, k, b.data + k * b_row_bytes, b_row_bytes, columns, c, c_row);
  for (; k < depth; ++k) wide_step<T, ROWS, 1>(a, k, b.data + k * b_row_bytes, b_row_bytes, columns, c, c_row);
}

// Calls body(Group) with the smallest group that holds `rows` rows.
template <class Body>
void with_group(const float* a, int64_t a_row, int64_t rows, const Body& body) {
  if (rows == 1) return body(Group<1>(a, a_row, rows));
  if (rows == 2) return body(Group<2>(a, a_row, rows));
  if (rows <= 4) return body(Group<4>(a, a_row, rows));
  body(Group<kGroup>(a, a_row, rows));
}

// C[rows, columns] = A B for at most kGroup rows, where the columns of B are contiguous (b.outer_step == 1). A is
// float32 with contiguous rows. C has kGroup rows; c_row is a multiple of kSquare and at least `columns`.
inline void wide_product(int64_t rows, const float* a, int64_t a_row, const DotView& b, int64_t depth, int64_t columns,
                         float* c, int64_t c_row) {
  with_format(b.dtype, [&]<DType T>() {
    with_group(a, a_row, rows, [&](const auto& group) { wide_rows<T>(group, b, depth, columns, c, c_row); });
  });
}

inline float sum_of(Floats x) {
  float lanes[kSquare];
  std::memcpy(lanes, &x, sizeof lanes);
  for (int half = kSquare / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// C[ROWS, COLUMNS] = A B, where the columns of B lie along the depth (b.inner_step == 1).
template <DType T, int ROWS, int COLUMNS>
void deep_block(const Group<ROWS>& a, const DotView& b, int64_t depth, float* c, int64_t c_row) {
  constexpr int64_t kBytes = static_cast<int64_t>(dtype_bytes(T));
  Floats sum[ROWS][COLUMNS] = {};
  const auto accumulate = [&](int64_t k, const auto& load_left, const auto& load_right) {
    Floats right[COLUMNS];
#pragma GCC unroll 4
    for (int j = 0; j < COLUMNS; ++j) right[j] = as_floats(load_right(b.data + (j * b.outer_step + k) * kBytes));
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
      const Floats left = as_floats(load_left(a.row[i] + k));
#pragma GCC unroll 4
      for (int j = 0; j < COLUMNS; ++j) sum[i][j] += left * right[j];
    }
  };
  int64_t k = 0;
  for (; k + kSquare <= depth; k += kSquare) accumulate(k, load_words, load_floats<T>);
  if (k < depth) {
    accumulate(
        k, [&](const float* from) { return load_partial(from, (depth - k) * 4, load_words); },
        [&](const char* from) { return load_partial(from, (depth - k) * kBytes, load_floats<T>); });
  }
  for (int i = 0; i < ROWS; ++i)
    for (int j = 0; j < COLUMNS; ++j) c[i * c_row + j] = sum_of(sum[i][j]);
}

template <DType T, int ROWS>
void deep_rows(const Group<ROWS>& a, DotView b, int64_t depth, int64_t columns, float* c, int64_t c_row) {
  constexpr int kColumns = ROWS <= 4 ? 4 : 2;
  const int64_t step_bytes = b.outer_step * static_cast<int64_t>(dtype_bytes(T));
  int64_t j = 0;
  for (; j + kColumns <= columns; j += kColumns, b.data += kColumns * step_bytes)
    deep_block<T, ROWS, kColumns>(a, b, depth, c + j, c_row);
  for (; j < columns; ++j, b.data += step_bytes) deep_block<T, ROWS, 1>(a, b, depth, c + j, c_row);
}

// The same product as wide_product where the depth of B is contiguous (b.inner_step == 1).
inline void deep_product(int64_t rows, const float* a, int64_t a_row, const DotView& b, int64_t depth, int64_t columns,
                         float* c, int64_t c_row) {
  with_format(b.dtype, [&]<DType T>() {
    with_group(a, a_row, rows, [&](const auto& group) { deep_rows<T>(group, b, depth, columns, c, c_row); });
  });
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
