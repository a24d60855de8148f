// Reporting a wrong value from a kernel.
#pragma once
#include "cuda/report.h"

namespace te::cuda {

__device__ inline void report(const Report& to, int64_t position, int32_t value) {
  const unsigned before = atomicCAS(&to.status->site, ~0u, to.site);
  if (before != ~0u && before != to.site) return;
  const unsigned long long at = position < 0xfffffffell ? static_cast<unsigned long long>(position) : 0xfffffffeull;
  atomicMin(&to.status->where, at << 32 | static_cast<uint32_t>(value));
}
}  // namespace te::cuda
