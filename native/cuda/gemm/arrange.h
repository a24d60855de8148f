// Operands laid out anew for kernels that want them contiguous along the depth, in another dtype, or in sizes that are
// multiples of something.
#pragma once
#include "cuda/context.h"
#include "plan/dot_dims.h"

namespace te::cuda {

class Arrange {
 public:
  // As [batches, outer, inner] of dtype `to`, where outer and inner are rounded up to multiples of `multiple` and what
  // they gain is zero.
  Arrange(const DotOperand& x, const Shape& batch, int64_t outer, int64_t inner, DType to, int64_t multiple);

  // What it makes.
  const DotOperand& result() const { return result_; }
  size_t bytes() const;
  void run(const void* from, void* to) const;

 private:
  bool transposes() const;

  DotOperand x_, result_;
  Shape batch_;
  int64_t outer_, inner_, outer_to_, inner_to_;
};

inline int64_t round_up(int64_t x, int64_t multiple) { return (x + multiple - 1) / multiple * multiple; }

// Scratch is cut into pieces of these sizes.
inline size_t aligned_bytes(size_t bytes) { return (bytes + 255) / 256 * 256; }

}  // namespace te::cuda
