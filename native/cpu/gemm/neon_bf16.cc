// Products of bfloat16 matrices in vectors of arm64 (BFMMLA).
// te: once
#include <algorithm>

#include "cpu/gemm/bfloat16_unit.h"

#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

#include "te/kernel.h"

// On each function, not on the file: an inline function of the standard library must run on every processor.
#define TE_BFMMLA __attribute__((target("arch=armv8.2-a+bf16")))

namespace te {
namespace {

// The instruction adds to a matrix [2, 2] the product of a [2, 4] and the transpose of another. Operands are therefore
// blocks: four steps of the depth of two rows of A, or of two columns of B.
constexpr int64_t kRows = 8, kColumns = 8;  // whose sums, sixteen vectors, stay in registers
constexpr int64_t kStretch = 512;       // of the depth that is summed at once: A's blocks stay in the first-level cache
constexpr int64_t kBlocks = 4 * kRows;  // codes of A's blocks for four steps

// kRows rows of A as blocks; what lies beyond the matrix is zero.
void block_rows(int64_t rows, int64_t depth, const uint16_t* a, int64_t a_row, uint16_t* blocks) {
  std::fill(blocks, blocks + (depth + 3) / 4 * kBlocks, uint16_t{0});
  for (int64_t i = 0; i < rows; ++i) {
    const uint16_t* from = a + i * a_row;
    uint16_t* to = blocks + i * 4;
    int64_t k = 0;
    for (; k + 4 <= depth; k += 4, to += kBlocks) std::memcpy(to, from + k, 8);
    std::copy(from + k, from + depth, to);
  }
}

// sum += A B for four steps of the depth; `low` and `high` are the two lines of pairs that four steps of B are.
TE_BFMMLA inline __attribute__((always_inline)) void add_steps(const uint16_t* a, const uint32x4_t (&low)[2],
                                                               const uint32x4_t (&high)[2], float32x4_t (&sum)[4][4]) {
  const bfloat16x8_t right[4] = {
      vreinterpretq_bf16_u32(vzip1q_u32(low[0], high[0])), vreinterpretq_bf16_u32(vzip2q_u32(low[0], high[0])),
      vreinterpretq_bf16_u32(vzip1q_u32(low[1], high[1])), vreinterpretq_bf16_u32(vzip2q_u32(low[1], high[1]))};
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const bfloat16x8_t left = vreinterpretq_bf16_u16(vld1q_u16(a + 8 * i));
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) sum[i][j] = vbfmmlaq_f32(sum[i][j], left, right[j]);
  }
}

// sums[kRows, kColumns] = A B for blocks of A and columns of a panel of B. (The instruction rounds sums to odd.)
TE_BFMMLA void multiply_blocks(int64_t depth, const uint16_t* a, const uint16_t* b, float* sums) {
  float32x4_t sum[4][4] = {};
  const auto line = [&](int64_t pair, int half) {
    return vreinterpretq_u32_u16(vld1q_u16(b + pair * 2 * kPairPanel + 8 * half));
  };
  const int64_t pairs = (depth + 1) / 2;
  int64_t pair = 0;
  for (; pair + 2 <= pairs; pair += 2, a += kBlocks)
    add_steps(a, {line(pair, 0), line(pair, 1)}, {line(pair + 1, 0), line(pair + 1, 1)}, sum);
  if (pair < pairs) add_steps(a, {line(pair, 0), line(pair, 1)}, {}, sum);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      vst1_f32(sums + 2 * i * kColumns + 2 * j, vget_low_f32(sum[i][j]));
      vst1_f32(sums + (2 * i + 1) * kColumns + 2 * j, vget_high_f32(sum[i][j]));
    }
  }
}

// C[rows, columns] = or += `sums`.
void store(int64_t rows, int64_t columns, const float* sums, float* c, int64_t c_row, bool add) {
  for (int64_t i = 0; i < rows; ++i, sums += kColumns, c += c_row)
    for (int64_t j = 0; j < columns; ++j) c[j] = add ? c[j] + sums[j] : sums[j];
}

void multiply(const Bfloat16Product& p) {
  uint16_t blocks[kStretch * kRows];
  float sums[kRows * kColumns];
  for (int64_t i = 0; i < p.rows; i += kRows) {
    const int64_t rows = std::min(kRows, p.rows - i);
    for (int64_t k = 0; k < p.depth || k == 0; k += kStretch) {
      const int64_t depth = std::min(kStretch, p.depth - k);
      block_rows(rows, depth, p.a + i * p.a_row + k, p.a_row, blocks);
      for (int64_t j = 0; j < p.columns; j += kColumns) {
        const uint16_t* right = p.b + j / kPairPanel * p.b_panel + k * kPairPanel + j % kPairPanel * 2;
        multiply_blocks(depth, blocks, right, sums);
        store(rows, std::min(kColumns, p.columns - j), sums, p.c + i * p.c_row + j, p.c_row, p.add || k > 0);
      }
    }
  }
}

}  // namespace

const Bfloat16Unit* neon_bf16_unit() {
  static constexpr Bfloat16Unit unit = {"neon_bf16", multiply};
  return best_isa() >= Isa::neon_bf16 ? &unit : nullptr;
}

}  // namespace te

#else

namespace te {
const Bfloat16Unit* neon_bf16_unit() { return nullptr; }
}  // namespace te

#endif
