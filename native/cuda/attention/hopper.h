// Attention on the tensor cores of Hopper, fed by the copy engine: which problems it takes, its scratch and launches.
#pragma once
#include "cuda/attention/attention.h"
#include "cuda/context.h"

namespace te::cuda::attention {

// Keys that a query sees follow from its index; heads of 64 or 128 elements; scores that grow with the products.
inline bool takes_hopper(const te::attention::Problem& p) {
  return context().capability() == 90 && dtype_bytes(p.dtype) == 2 && (p.depth == 64 || p.depth == 128) &&
         p.value_depth == p.depth && !p.has_bias && !p.explicit_mask() && p.dropout == 0 && p.scale > 0 &&
         p.queries >= 128 && p.keys > 0 && p.batch * p.heads * p.queries < int64_t{1} << 31;
}

// A byte for every 16 rows, in fours: whether a row met something that is not finite. Such rows are computed again by
// simple.cuh, since a product of tiles cannot leave out what is hidden.
inline size_t suspect_bytes(int64_t batch_heads, int64_t positions) {
  return aligned(static_cast<size_t>(batch_heads * ((positions + kTile - 1) / kTile) * 4));
}

inline size_t hopper_forward_bytes(const te::attention::Problem& p) {
  return suspect_bytes(p.batch * p.heads, p.queries);
}
void hopper_forward(const Operands& a, DType dtype, void* scratch);

// Scratch besides that of every gradient.
size_t hopper_backward_bytes(const te::attention::Problem& p);
void hopper_backward(const Operands& a, DType dtype, void* scratch);

}  // namespace te::cuda::attention
