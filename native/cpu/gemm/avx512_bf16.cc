// Dot products of pairs of bfloat16 on vectors of x86 (AVX512-BF16).
// te: once
#include <algorithm>

#include "cpu/gemm/bfloat16_unit.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include <cstring>
#include <utility>

#include "te/kernel.h"

// On each function, not on the file: an inline function of the standard library must run on every processor.
#define TE_PAIRS __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16")))

namespace te {
namespace {

constexpr int kStrip = 12;  // rows whose sums, two vectors each, stay in registers
constexpr int64_t kLanes = 16;

// The end of row i of a strip.
template <int VECTORS>
TE_PAIRS inline void store_rounded(const Rounding& r, int i, const __m512 (&sum)[VECTORS],
                                   const __m512 (&bias)[VECTORS], int64_t columns) {
  const __mmask32 mask = static_cast<__mmask32>((uint64_t{1} << columns) - 1);
  const __m512 scale = _mm512_set1_ps(r.scale);
  if constexpr (VECTORS == 2)
    _mm512_mask_storeu_epi16(r.result + i * r.row, mask,
                             (__m512i)_mm512_cvtne2ps_pbh(sum[1] * scale + bias[1], sum[0] * scale + bias[0]));
  else
    _mm256_mask_storeu_epi16(r.result + i * r.row, static_cast<__mmask16>(mask),
                             (__m256i)_mm512_cvtneps_pbh(sum[0] * scale + bias[0]));
}

// C[ROWS, up to VECTORS * kLanes] of one panel. `last` says which columns of the last vector exist.
template <int ROWS, int VECTORS>
TE_PAIRS void multiply_strip(const Bfloat16Product& p, __mmask16 last) {
  __m512 sum[ROWS][VECTORS];
  const auto mask = [&](int j) { return j + 1 == VECTORS ? last : static_cast<__mmask16>(0xffff); };
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < VECTORS; ++j)
      sum[i][j] = p.add ? _mm512_maskz_loadu_ps(mask(j), p.c + i * p.c_row + j * kLanes) : _mm512_setzero_ps();
  }
  const Rounding& r = p.rounding;
  if (r.result)  // its lines come while the product is made
    for (int i = 0; i < ROWS; ++i) __builtin_prefetch(r.result + i * r.row, 1);
  const uint16_t* right = p.b;
  for (int64_t k = 0; k < p.depth; k += 2, right += 2 * kPairPanel) {
    __m512bh pairs[VECTORS];
#pragma GCC unroll 2
    for (int j = 0; j < VECTORS; ++j) pairs[j] = (__m512bh)_mm512_loadu_si512(right + j * 2 * kLanes);
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; ++i) {
      int pair;
      std::memcpy(&pair, p.a + i * p.a_row + k, sizeof pair);
      const __m512bh both = (__m512bh)_mm512_set1_epi32(pair);
#pragma GCC unroll 2
      for (int j = 0; j < VECTORS; ++j) sum[i][j] = _mm512_dpbf16_ps(sum[i][j], both, pairs[j]);
    }
  }
  if (r.result) {
    __m512 bias[VECTORS];
    for (int j = 0; j < VECTORS; ++j)
      bias[j] = r.bias ? _mm512_maskz_loadu_ps(mask(j), r.bias + j * kLanes) : _mm512_setzero_ps();
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; ++i) store_rounded<VECTORS>(r, i, sum[i], bias, p.columns);
    return;
  }
#pragma GCC unroll 12
  for (int i = 0; i < ROWS; ++i) {
#pragma GCC unroll 2
    for (int j = 0; j < VECTORS; ++j) _mm512_mask_storeu_ps(p.c + i * p.c_row + j * kLanes, mask(j), sum[i][j]);
  }
}

using Strip = void (*)(const Bfloat16Product&, __mmask16);

template <int VECTORS, int... ROWS>
Strip strip_of(int64_t rows, std::integer_sequence<int, ROWS...>) {
  static constexpr Strip strips[] = {multiply_strip<ROWS + 1, VECTORS>...};
  return strips[rows - 1];
}

void multiply(const Bfloat16Product& p) {
  for (int64_t j = 0; j < p.columns; j += kPairPanel) {
    const int64_t wide = std::min(kPairPanel, p.columns - j), over = wide % kLanes;
    const __mmask16 last = static_cast<__mmask16>(over ? (1u << over) - 1 : 0xffffu);
    for (int64_t i = 0; i < p.rows; i += kStrip) {
      const int64_t rows = std::min<int64_t>(kStrip, p.rows - i);
      constexpr auto all = std::make_integer_sequence<int, kStrip>{};
      const Strip strip = wide > kLanes ? strip_of<2>(rows, all) : strip_of<1>(rows, all);
      Rounding rounding = p.rounding;
      if (rounding.result) rounding.result += i * rounding.row + j;
      if (rounding.bias) rounding.bias += j;
      strip({rows, wide, p.depth, p.a + i * p.a_row, p.a_row, p.b + j / kPairPanel * p.b_panel, p.b_panel,
             p.c + i * p.c_row + j, p.c_row, p.add, rounding},
            last);
    }
  }
}

}  // namespace

const Bfloat16Unit* avx512_bf16_unit() {
  static constexpr Bfloat16Unit unit = {"avx512_bf16", multiply, true};
  return best_isa() >= Isa::avx512_bf16 ? &unit : nullptr;
}

}  // namespace te

#else

namespace te {
const Bfloat16Unit* avx512_bf16_unit() { return nullptr; }
}  // namespace te

#endif
