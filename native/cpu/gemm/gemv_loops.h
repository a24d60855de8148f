// Inner loops of products that are too small, or have too few rows, to be packed: B is read once, as it lies in memory.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/gemm/pack.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline constexpr int64_t kGroup = 8;  // rows of A that share a reading of B

inline Floats floats_at(const float* from) { return as_floats(load_words(from)); }

// The numbers of a vector's worth of memory: of kVectors vectors, in the order in which they unpack fastest. Number i
// of vector p is the one at(p, i) in memory, times 1 / kScale, which whoever multiplies with it makes up for.
template <DType T>
struct Unit {
  static constexpr int kVectors = T == DType::float16 ? 1 : 4 / static_cast<int>(dtype_bytes(T));
  static constexpr int kSize = kVectors * kSquare;
  static constexpr int64_t kBytes = kSize * static_cast<int64_t>(dtype_bytes(T));
#if defined(__AVX512BW__)
  static constexpr bool kHalves = is_float8(T);
#else
  static constexpr bool kHalves = false;
#endif
  static constexpr float kScale = kHalves && T == DType::float8_e4m3fn ? 256 : 1;

  static constexpr int at(int p, int i) { return kHalves ? (p / 2) * 2 * kSquare + 2 * i + p % 2 : i * kVectors + p; }

  static void load(const char* from, Floats (&to)[kVectors]) {
    if constexpr (kVectors == 1) {
      to[0] = as_floats(load_floats<T>(from));
    } else if constexpr (T == DType::bfloat16) {
      const Words pairs = load_words(from);
      to[0] = as_floats(pairs << 16);
      to[1] = as_floats(pairs & 0xffff0000u);
    } else if constexpr (kHalves) {
      load_halves(from, to);
    } else {
      const Words codes = load_words(from);
      for (int p = 0; p < kVectors; ++p) to[p] = as_floats(decode_float8<T>((codes >> (8 * p)) & 0xff));
    }
  }

  // The first `count` numbers, and zeros.
  static void load_some(const char* from, int64_t count, Floats (&to)[kVectors]) {
    alignas(64) char copy[kBytes] = {};
    std::memcpy(copy, from, static_cast<size_t>(count * (kBytes / kSize)));
    load(copy, to);
  }

  // Numbers as they lie in memory in the order of load, and back.
  static void arrange(float* unit) {
    float given[kSize];
    std::memcpy(given, unit, sizeof given);
    for (int p = 0; p < kVectors; ++p)
      for (int i = 0; i < kSquare; ++i) unit[p * kSquare + i] = given[at(p, i)];
  }
  static void restore(float* unit) {
    float given[kSize];
    std::memcpy(given, unit, sizeof given);
    for (int p = 0; p < kVectors; ++p)
      for (int i = 0; i < kSquare; ++i) unit[at(p, i)] = given[p * kSquare + i];
  }

#if defined(__AVX512BW__)
 private:
  // A code of e5m2 is the upper byte of a float16. One of e4m3 has one bit less of exponent: sign and the rest move
  // apart, and the bias differs by eight. Only its NaN means something else.
  static void load_halves(const char* from, Floats (&to)[kVectors]) {
    typedef int16_t Halves __attribute__((vector_size(64)));
    const __m512i codes = _mm512_loadu_si512(from);
    Halves high = reinterpret_cast<Halves>(codes), low = high << 8;
    if constexpr (T == DType::float8_e4m3fn) {
      const __m512i magnitudes = _mm512_or_si512(codes, _mm512_set1_epi8(-128));
      if (__builtin_expect(_mm512_cmpeq_epi8_mask(magnitudes, _mm512_set1_epi8(-1)) != 0, 0)) {
        for (int p = 0; p < kVectors; ++p)
          for (int i = 0; i < kSquare; ++i)
            to[p][i] = float8_e4m3fn_to_float(static_cast<uint8_t>(from[at(p, i)])) / kScale;
        return;
      }
      high = (high >> 1) & static_cast<int16_t>(0xbf80);
      low = (low >> 1) & static_cast<int16_t>(0xbf80);
    } else {
      high &= static_cast<int16_t>(0xff00);
    }
    const auto widen = [](Halves all, Floats* first, Floats* second) {
      const auto lower = __builtin_shufflevector(all, all, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
      const auto upper =
          __builtin_shufflevector(all, all, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31);
      *first = reinterpret_cast<Floats>(_mm512_maskz_cvtph_ps(0xffff, reinterpret_cast<__m256i>(lower)));
      *second = reinterpret_cast<Floats>(_mm512_maskz_cvtph_ps(0xffff, reinterpret_cast<__m256i>(upper)));
    };
    widen(low, &to[0], &to[2]);
    widen(high, &to[1], &to[3]);
  }
#endif
};

// What the rows of A have to be multiplied with for B of this dtype, and the numbers that they must come in multiples
// of where B lies along the depth (Unit::arrange).
inline float gemv_scale(DType b) {
  float scale = 1;
  with_format(b, [&]<DType T>() { scale = Unit<T>::kScale; });
  return scale;
}
inline constexpr int64_t kLargestUnit = 4 * kSquare;

// Row of A of `depth` numbers and zeros up to a multiple of kLargestUnit.
inline void arrange_row(DType b, float* row, int64_t depth) {
  with_format(b, [&]<DType T>() {
    for (int64_t k = 0; k < depth; k += Unit<T>::kSize) Unit<T>::arrange(row + k);
  });
}

// Rows of A. There may be fewer than the loops compute; the last one then stands in for those that are missing, and the
// sums have room for them.
template <int ROWS>
struct Group {
  const float* row[ROWS];
  Group(const float* a, int64_t a_row, int64_t rows) {
    for (int64_t i = 0; i < ROWS; ++i) row[i] = a + std::min(i, rows - 1) * a_row;
  }
};

// C[ROWS, columns] += A[ROWS, STEPS] B[STEPS, columns] from depth k on; B has contiguous rows, and C the order of
// units.
template <DType T, int ROWS, int STEPS>
void wide_step(const Group<ROWS>& a, int64_t k, const char* b, int64_t b_row_bytes, int64_t columns, float* c,
               int64_t c_row) {
  using U = Unit<T>;
  const auto accumulate = [&](int64_t j, const auto& load) {
    Floats right[STEPS][U::kVectors];
    const char* from = b + j * (U::kBytes / U::kSize);
#pragma GCC unroll 8
    for (int s = 0; s < STEPS; ++s) {
      load(from + s * b_row_bytes, right[s]);
      __builtin_prefetch(from + (STEPS + s) * b_row_bytes);
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 4
      for (int p = 0; p < U::kVectors; ++p) {
        float* at = c + i * c_row + j + p * kSquare;
        Floats sum = floats_at(at);
#pragma GCC unroll 8
        for (int s = 0; s < STEPS; ++s) sum += a.row[i][k + s] * right[s][p];
        store_words(at, as_words(sum));
      }
    }
  };
  int64_t j = 0;
  for (; j + U::kSize <= columns; j += U::kSize) accumulate(j, U::load);
  if (j < columns) accumulate(j, [&](const char* from, auto& to) { U::load_some(from, columns - j, to); });
}

template <DType T, int ROWS>
void wide_rows(const Group<ROWS>& a, const DotView& b, int64_t depth, int64_t columns, float* c, int64_t c_row) {
  constexpr int kSteps = Unit<T>::kVectors == 4 ? 4 : 8;  // rows of B per visit of the sums
  const int64_t b_row_bytes = b.inner_step * static_cast<int64_t>(dtype_bytes(T));
  std::memset(c, 0, static_cast<size_t>(ROWS * c_row) * 4);
  int64_t k = 0;
  for (; k + kSteps <= depth; k += kSteps)
    wide_step<T, ROWS, kSteps>(a, k, b.data + k * b_row_bytes, b_row_bytes, columns, c, c_row);
  for (; k < depth; ++k) wide_step<T, ROWS, 1>(a, k, b.data + k * b_row_bytes, b_row_bytes, columns, c, c_row);
  if constexpr (Unit<T>::kVectors > 1)
    for (int i = 0; i < ROWS; ++i)
      for (int64_t j = 0; j < columns; j += Unit<T>::kSize) Unit<T>::restore(c + i * c_row + j);
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
// float32 with contiguous rows, times gemv_scale. C has kGroup rows; c_row is a multiple of kLargestUnit and at least
// `columns`.
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

// C[ROWS, COLUMNS] = A B, where the columns of B lie along the depth (b.inner_step == 1), and the rows of A have the
// order of units and zeros up to a whole one.
template <DType T, int ROWS, int COLUMNS>
void deep_block(const Group<ROWS>& a, const DotView& b, int64_t depth, float* c, int64_t c_row) {
  using U = Unit<T>;
  constexpr int64_t kElement = U::kBytes / U::kSize;
  Floats sum[ROWS][COLUMNS] = {};
  const auto accumulate = [&](int64_t k, const auto& load) {
#pragma GCC unroll 4
    for (int j = 0; j < COLUMNS; ++j) {
      Floats right[U::kVectors];
      const char* from = b.data + (j * b.outer_step + k) * kElement;
      load(from, right);
      __builtin_prefetch(from + COLUMNS * b.outer_step * kElement);
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
        for (int p = 0; p < U::kVectors; ++p) sum[i][j] += floats_at(a.row[i] + k + p * kSquare) * right[p];
    }
  };
  int64_t k = 0;
  for (; k + U::kSize <= depth; k += U::kSize) accumulate(k, U::load);
  if (k < depth) accumulate(k, [&](const char* from, auto& to) { U::load_some(from, depth - k, to); });
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

// The same product as wide_product where the depth of B is contiguous (b.inner_step == 1) and A went through
// arrange_row.
inline void deep_product(int64_t rows, const float* a, int64_t a_row, const DotView& b, int64_t depth, int64_t columns,
                         float* c, int64_t c_row) {
  with_format(b.dtype, [&]<DType T>() {
    with_group(a, a_row, rows, [&](const auto& group) { deep_rows<T>(group, b, depth, columns, c, c_row); });
  });
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
