// Inner loops of products that are too small, or have too few rows, to be packed: B is read once, as it lies in memory.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <tuple>

#include "cpu/gemm/gemv_unit.h"
#include "cpu/gemm/pack.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline Floats floats_at(const float* from) { return as_floats(load_words(from)); }

#if defined(TE_GEMV_LOOKS_UP)
// The bytes of the bfloat16 numbers that magnitudes of float8_e4m3fn are.
struct E4m3Table {
  alignas(64) uint8_t high[128], low[128];
  constexpr E4m3Table() : high(), low() {
    for (int code = 0; code < 128; ++code) {
      // Small<4, 3>::decode, in integers: subnormals are eighths of the smallest exponent.
      uint32_t bits = (static_cast<uint32_t>(code) << 4) + (120u << 7);
      if (code < 8) {
        uint32_t exponent = 121, fraction = static_cast<uint32_t>(code);
        for (; fraction != 0 && fraction < 8; --exponent) fraction <<= 1;
        bits = fraction == 0 ? 0 : (exponent << 7) | ((fraction & 7) << 4);
      }
      if (code == 127) bits = 0x7fc0;
      high[code] = static_cast<uint8_t>(bits >> 8);
      low[code] = static_cast<uint8_t>(bits);
    }
  }
};
inline constexpr E4m3Table kE4m3;
#endif

// The numbers of a vector's worth of memory: of kVectors vectors, in the order in which they unpack fastest. Number i
// of vector p is the one at(p, i) in memory, times 1 / kScale, which whoever multiplies with it makes up for.
template <DType T>
struct Unit {
  static constexpr int kVectors = T == DType::float16 ? 1 : 4 / static_cast<int>(dtype_bytes(T));
  static constexpr int kSize = kVectors * kSquare;
  static constexpr int64_t kBytes = kSize * static_cast<int64_t>(dtype_bytes(T));
#if defined(TE_GEMV_LOOKS_UP)
  static constexpr bool kLooksUp = T == DType::float8_e4m3fn, kHalves = is_float8(T) && !kLooksUp;
#elif defined(__AVX512BW__)
  static constexpr bool kLooksUp = false, kHalves = is_float8(T);
#else
  static constexpr bool kLooksUp = false, kHalves = false;
#endif
  static constexpr float kScale = kHalves && T == DType::float8_e4m3fn ? 256 : 1;

  static constexpr int at(int p, int i) {
    if (kLooksUp) return i / 4 * 16 + p / 2 * 8 + i % 4 * 2 + p % 2;
    return kHalves ? (p / 2) * 2 * kSquare + 2 * i + p % 2 : i * kVectors + p;
  }

  static void load(const char* from, Floats (&to)[kVectors]) {
    if constexpr (kVectors == 1) {
      to[0] = as_floats(load_floats<T>(from));
    } else if constexpr (T == DType::bfloat16) {
      const Words pairs = load_words(from);
      to[0] = as_floats(pairs << 16);
      to[1] = as_floats(pairs & 0xffff0000u);
    } else if constexpr (kLooksUp) {
      look_up(from, to);
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

 private:
#if defined(TE_GEMV_LOOKS_UP)
  static void look_up(const char* from, Floats (&to)[kVectors]) {
    const auto find = [](const uint8_t(&table)[128], __m512i codes) {
      return _mm512_permutex2var_epi8(_mm512_load_si512(table), codes, _mm512_load_si512(table + 64));
    };
    const __m512i codes = _mm512_loadu_si512(from), signs = _mm512_and_si512(codes, _mm512_set1_epi8(-128));
    const __m512i high = _mm512_or_si512(find(kE4m3.high, codes), signs), low = find(kE4m3.low, codes);
    const Words first = reinterpret_cast<Words>(_mm512_unpacklo_epi8(low, high));
    const Words second = reinterpret_cast<Words>(_mm512_unpackhi_epi8(low, high));
    to[0] = as_floats(first << 16);
    to[1] = as_floats(first & 0xffff0000u);
    to[2] = as_floats(second << 16);
    to[3] = as_floats(second & 0xffff0000u);
  }
#endif
#if defined(__AVX512BW__)
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

// Rows of A. There may be fewer than the loops compute; the last one then stands in for those that are missing, and the
// sums have room for them.
template <int ROWS>
struct Group {
  const float* row[ROWS];
  Group(const float* a, int64_t a_row, int64_t rows) {
    for (int64_t i = 0; i < ROWS; ++i) row[i] = a + std::min(i, rows - 1) * a_row;
  }
};

// Whether sums stay in registers while B passes, rather than B while sums do.
template <DType T, int ROWS>
inline constexpr bool kSumsStay = ROWS == 1 && Unit<T>::kLooksUp;

// One unit of the step below for a single row.
template <DType T, int STEPS, class Load>
inline __attribute__((always_inline)) void add_to_row(const float* a, const char* b, int64_t b_row_bytes, float* c,
                                                      const Load& load) {
  using U = Unit<T>;
  Floats sum[U::kVectors], right[U::kVectors];
#pragma GCC unroll 4
  for (int p = 0; p < U::kVectors; ++p) sum[p] = floats_at(c + p * kSquare);
#pragma GCC unroll 8
  for (int s = 0; s < STEPS; ++s) {
    load(b + s * b_row_bytes, right);
    __builtin_prefetch(b + (STEPS + s) * b_row_bytes);
#pragma GCC unroll 4
    for (int p = 0; p < U::kVectors; ++p) sum[p] += a[s] * right[p];
  }
#pragma GCC unroll 4
  for (int p = 0; p < U::kVectors; ++p) store_words(c + p * kSquare, as_words(sum[p]));
}

// C[ROWS, columns] += A[ROWS, STEPS] B[STEPS, columns] from depth k on; B has contiguous rows, and C the order of
// units.
template <DType T, int ROWS, int STEPS>
void wide_step(const Group<ROWS>& a, int64_t k, const char* b, int64_t b_row_bytes, int64_t columns, float* c,
               int64_t c_row) {
  using U = Unit<T>;
  const auto accumulate = [&](int64_t j, const auto& load) {
    const char* from = b + j * (U::kBytes / U::kSize);
    if constexpr (kSumsStay<T, ROWS>) return add_to_row<T, STEPS>(a.row[0] + k, from, b_row_bytes, c + j, load);
    Floats right[STEPS][U::kVectors];
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
void wide_rows(const Group<ROWS>& a, const GemvCall& call) {
  constexpr int kSteps = Unit<T>::kVectors == 4 && !kSumsStay<T, ROWS> ? 4 : 8;  // rows of B per visit of the sums
  const int64_t b_row_bytes = call.b_step * static_cast<int64_t>(dtype_bytes(T));
  const auto [depth, columns, c, c_row] = std::tuple(call.depth, call.columns, call.c, call.c_row);
  std::memset(c, 0, static_cast<size_t>(ROWS * c_row) * 4);
  int64_t k = 0;
  for (; k + kSteps <= depth; k += kSteps)
    wide_step<T, ROWS, kSteps>(a, k, call.b + k * b_row_bytes, b_row_bytes, columns, c, c_row);
  for (; k < depth; ++k) wide_step<T, ROWS, 1>(a, k, call.b + k * b_row_bytes, b_row_bytes, columns, c, c_row);
  if constexpr (Unit<T>::kVectors > 1)
    for (int i = 0; i < ROWS; ++i)
      for (int64_t j = 0; j < columns; j += Unit<T>::kSize) Unit<T>::restore(c + i * c_row + j);
}

// Calls body(Group) with the smallest group that holds `rows` rows.
template <class Body>
void with_group(const GemvCall& call, const Body& body) {
  const auto [a, a_row, rows] = std::tuple(call.a, call.a_row, call.rows);
  if (rows == 1) return body(Group<1>(a, a_row, rows));
  if (rows == 2) return body(Group<2>(a, a_row, rows));
  if (rows <= 4) return body(Group<4>(a, a_row, rows));
  body(Group<kGemvGroup>(a, a_row, rows));
}

template <DType T>
void wide_product(const GemvCall& call) {
  with_group(call, [&](const auto& group) { wide_rows<T>(group, call); });
}

inline float sum_of(Floats x) {
  float lanes[kSquare];
  std::memcpy(lanes, &x, sizeof lanes);
  for (int half = kSquare / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  return lanes[0];
}

// C[ROWS, COLUMNS] = A B, where the depth of B is contiguous, and the rows of A have the order of units and zeros up to
// a whole one.
template <DType T, int ROWS, int COLUMNS>
void deep_block(const Group<ROWS>& a, const char* b, int64_t b_step_bytes, int64_t depth, float* c, int64_t c_row) {
  using U = Unit<T>;
  constexpr int64_t kElement = U::kBytes / U::kSize;
  constexpr int kChains = ROWS == 1 && U::kVectors == 4 ? 2 : 1;  // of additions that wait for each other
  Floats sum[kChains][ROWS][COLUMNS] = {};
  const auto accumulate = [&](int64_t k, const auto& load) {
#pragma GCC unroll 4
    for (int j = 0; j < COLUMNS; ++j) {
      Floats right[U::kVectors];
      const char* from = b + j * b_step_bytes + k * kElement;
      load(from, right);
      __builtin_prefetch(from + COLUMNS * b_step_bytes);
#pragma GCC unroll 8
      for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 4
        for (int p = 0; p < U::kVectors; ++p)
          sum[p % kChains][i][j] += floats_at(a.row[i] + k + p * kSquare) * right[p];
    }
  };
  int64_t k = 0;
  for (; k + U::kSize <= depth; k += U::kSize) accumulate(k, U::load);
  if (k < depth) accumulate(k, [&](const char* from, auto& to) { U::load_some(from, depth - k, to); });
  for (int i = 0; i < ROWS; ++i) {
    for (int j = 0; j < COLUMNS; ++j) {
      if constexpr (kChains > 1) sum[0][i][j] += sum[1][i][j];
      c[i * c_row + j] = sum_of(sum[0][i][j]);
    }
  }
}

template <DType T, int ROWS>
void deep_rows(const Group<ROWS>& a, const GemvCall& call) {
  constexpr int kColumns = ROWS <= 4 ? 4 : 2;
  const int64_t step_bytes = call.b_step * static_cast<int64_t>(dtype_bytes(T));
  const char* b = call.b;
  int64_t j = 0;
  for (; j + kColumns <= call.columns; j += kColumns, b += kColumns * step_bytes)
    deep_block<T, ROWS, kColumns>(a, b, step_bytes, call.depth, call.c + j, call.c_row);
  for (; j < call.columns; ++j, b += step_bytes)
    deep_block<T, ROWS, 1>(a, b, step_bytes, call.depth, call.c + j, call.c_row);
}

template <DType T>
void deep_product(const GemvCall& call) {
  with_group(call, [&](const auto& group) { deep_rows<T>(group, call); });
}

template <DType T>
void arrange_row(float* row, int64_t depth) {
  for (int64_t k = 0; k < depth; k += Unit<T>::kSize) Unit<T>::arrange(row + k);
}

template <DType T>
inline constexpr GemvUnit kGemvUnit = {Unit<T>::kScale, wide_product<T>, deep_product<T>, arrange_row<T>};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
