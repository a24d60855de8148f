// Positions of row-major indices by the steps of their axes.
#pragma once
#include <cstdint>
#include <vector>

#include "plan/dot_dims.h"
#include "te/status.h"

namespace te::cuda {

constexpr int kMaxAxes = 40;  // of two or more elements each: a tensor with more of them fits into no memory

struct Walk {
  int rank = 0;
  int64_t size[kMaxAxes], step[kMaxAxes];
  // Adds an axis inside of those before; joins it with the last where the two are one.
  void add(int64_t length, int64_t stride) {
    if (length == 1) return;
    if (rank > 0 && step[rank - 1] == length * stride) {
      size[rank - 1] *= length, step[rank - 1] = stride;
      return;
    }
    if (rank == kMaxAxes) throw Error("unsupported", "a product of operands with this many axes");
    size[rank] = length, step[rank++] = stride;
  }
  __device__ int64_t operator()(int64_t i) const {
    int64_t at = 0;
    for (int d = rank - 1; d > 0; --d) {
      at += i % size[d] * step[d];
      i /= size[d];
    }
    return rank > 0 ? at + i * step[0] : at;
  }
};

// Where the products of a batch find their operands.
struct BatchWalk {
  Walk a, b;
  explicit BatchWalk(const DotDims& dims) {
    for (size_t i = 0; i < dims.batch.size(); ++i) {
      a.add(dims.batch[i], dims.a.batch_steps[i]);
      b.add(dims.batch[i], dims.b.batch_steps[i]);
    }
  }
};

}  // namespace te::cuda
