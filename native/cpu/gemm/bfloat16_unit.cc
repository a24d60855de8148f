// Which bfloat16 unit products use, and the one that every machine has.
// te: once
#include "cpu/gemm/bfloat16_unit.h"

#include <algorithm>
#include <atomic>
#include <bit>

#include "cpu/simd/formats.h"
#include "te/kernel.h"

namespace te {
namespace {

float number(uint16_t code) { return std::bit_cast<float>(static_cast<uint32_t>(code) << 16); }

void multiply(const Bfloat16Product& p) {
  for (int64_t i = 0; i < p.rows; ++i) {
    for (int64_t j = 0; j < p.columns; ++j) {
      const uint16_t* right = p.b + j / kPairPanel * p.b_panel + j % kPairPanel * 2;
      float& c = p.c[i * p.c_row + j];
      float sum = p.add ? c : 0;
      for (int64_t k = 0; k < p.depth; ++k)
        sum += number(p.a[i * p.a_row + k]) * number(right[k / 2 * 2 * kPairPanel + k % 2]);
      const Rounding& r = p.rounding;
      if (r.result)
        r.result[i * r.row + j] = TE_ISA_NAMESPACE::float_to_bfloat16(sum * r.scale + (r.bias ? r.bias[j] : 0));
      else
        c = sum;
    }
  }
}

const Bfloat16Unit* by_processor() {
#if defined(__aarch64__)
  return active_isa() >= Isa::neon_bf16 ? neon_bf16_unit() : nullptr;
#else
  if (active_isa() >= Isa::amx) return amx_unit();
  return active_isa() >= Isa::avx512_bf16 ? avx512_bf16_unit() : nullptr;
#endif
}

std::atomic<const Bfloat16Unit*>& chosen() {
  static std::atomic<const Bfloat16Unit*> unit{by_processor()};
  return unit;
}

}  // namespace

const Bfloat16Unit* portable_unit() {
  static constexpr Bfloat16Unit unit = {"portable", multiply, true};
  return &unit;
}

const Bfloat16Unit* bfloat16_unit() { return chosen().load(); }

bool force_bfloat16_unit(const std::string& name) {
  if (name.empty() || name == "none") {
    chosen() = name.empty() ? by_processor() : nullptr;
    return true;
  }
  for (const Bfloat16Unit* unit : {amx_unit(), avx512_bf16_unit(), neon_bf16_unit(), portable_unit()}) {
    if (!unit || name != unit->name) continue;
    chosen() = unit;
    return true;
  }
  return false;
}

}  // namespace te
