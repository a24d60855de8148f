// Which of cuBLASLt's algorithms a product takes: asked for once per problem and process, timed and stored in a file
// where TE_TUNE says so.
#pragma once
#include <optional>

#include "cuda/gemm/matmul.h"

namespace te::cuda {

// The best that is known; nothing where cuBLASLt cannot do it.
std::optional<lt::Algo> known_choice(const Matmul& matmul);

// Whether the problem is to be timed: TE_TUNE=1, and neither this process nor the file has.
bool wants_timing(const Matmul& matmul);

// Times what cuBLASLt recommends, with these operands, whose result is overwritten; stores the fastest. Waits for the
// GPU: not while a graph is captured.
lt::Algo time_choices(Matmul& matmul, const MatmulCall& call);

}  // namespace te::cuda
