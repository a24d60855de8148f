// The product of a few rows with float8_e4m3fn on processors that look up bytes in registers (AVX512-VBMI).
#if defined(__AVX512BW__)
#include "cpu/gemm/gemv_unit.h"
#include "te/kernel.h"

// A namespace of its own: what other files have in theirs must run without these instructions.
#undef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_avx512_vbmi
#define TE_GEMV_LOOKS_UP  // the compiler does not define __AVX512VBMI__ here
#pragma GCC target("avx512vbmi")
#include "cpu/gemm/gemv_loops.h"

namespace te {

const GemvUnit* avx512_vbmi_gemv() {
  static const bool present = active_isa() > Isa::avx512 && __builtin_cpu_supports("avx512vbmi");
  return present ? &isa_avx512_vbmi::kGemvUnit<DType::float8_e4m3fn> : nullptr;
}

}  // namespace te
#endif
