// What multiplies a few rows with B of one dtype as it lies in memory: the loops of gemv_loops.h, which are compiled
// for more processors than gemv.h.
#pragma once
#include <cstdint>

namespace te {

inline constexpr int64_t kGemvGroup = 8;  // rows of A that share a reading of B
inline constexpr int64_t kGemvStep = 64;  // numbers of B that the loops read at once, at most

// C[rows, columns] = A B for at most kGemvGroup rows. A is float32 with contiguous rows. Successive rows of B, or its
// columns where the depth is contiguous, are b_step elements apart. C has kGemvGroup rows; c_row is a multiple of
// kGemvStep and at least `columns`.
struct GemvCall {
  int64_t rows, columns, depth;
  const float* a;
  int64_t a_row;
  const char* b;
  int64_t b_step;
  float* c;
  int64_t c_row;
};

struct GemvUnit {
  float scale;                                     // that the rows of A have to be multiplied with
  void (*wide)(const GemvCall& call);              // where rows of B are contiguous
  void (*deep)(const GemvCall& call);              // where its depth is; the rows of A are arranged then
  void (*arrange_row)(float* row, int64_t depth);  // a row with zeros up to a multiple of kGemvStep
};

// That for B in float8_e4m3fn of processors that look up bytes in registers (AVX512-VBMI); nullptr on others.
const GemvUnit* avx512_vbmi_gemv();

}  // namespace te
