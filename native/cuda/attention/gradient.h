// What the kernels of both gradients of attention share on the host.
#pragma once
#include "cuda/attention/attention.h"

namespace te::cuda::attention {

// Scratch of a gradient: the states of the tiles and D of every row.
size_t gradient_bytes(const te::attention::Problem& p);
// Operands with D of every row, whose computation is queued.
Operands read_gradient(const te::attention::Problem& p, const Call& call, void* scratch);

}  // namespace te::cuda::attention
