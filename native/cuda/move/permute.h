// Permutations of axes on the GPU.
#pragma once
#include <optional>

#include "cuda/move/strided_copy.h"
#include "plan/permute.h"

namespace te::cuda {

class Permutation {
 public:
  // shape: of the input; out axis i is in axis perm[i].
  Permutation(const Shape& shape, const std::vector<int64_t>& perm, size_t element_bytes);
  void run(const void* from, void* to) const;
  bool tiled() const { return tiled_; }

 private:
  PermutedAxes plan_;
  bool tiled_;  // through shared memory; otherwise as a strided copy
  std::optional<StridedCopy> copy_;
};

// One that is planned for this run alone.
void permute(const void* from, void* to, const Shape& shape, const std::vector<int64_t>& perm, size_t element_bytes);

}  // namespace te::cuda
