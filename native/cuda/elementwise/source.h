// CUDA C++ of one elementwise code, for the compiler at run time. The source depends on the code, the dtypes and which
// inputs are repeated how; sizes and strides are arguments.
#pragma once
#include <string>

#include "cuda/elementwise/code.h"

namespace te::cuda::element {

extern const char* const prelude;

constexpr int kSourceThreads = 256;

struct Source {
  std::string text;  // of the kernel "te_kernel" of one Arguments
  int vector;        // elements that a thread computes at a time
};

Source source_of(const Node& node, const Code& code, const Walk& walk);

}  // namespace te::cuda::element
