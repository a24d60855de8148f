// Compiles CUDA C++ at run time for the GPU of the calling thread, by NVRTC. Kernels are kept in the process, and on
// disk by the hash of their source, the architecture and the compiler's version (TE_KERNEL_CACHE: a folder, or "off").
#pragma once
#include <string>

#include "cuda/launch.h"

namespace te::cuda {

// Whether and when sources are compiled, by TE_NVRTC: not ("off"), for every node ("always"), else for those that are
// large enough to pay. Any other text is the path of the library.
enum class Compile { never, large, always };
Compile wanted_compilation();

// The kernel "te_kernel" of the source, or nullptr and why there is none. Lives as long as the process.
const void* compiled_kernel(const std::string& source, std::string* why);

// Queues it on stream(). The kernel's only argument is the struct at `arguments`.
void launch_compiled(const char* what, const void* kernel, const Launch& shape, void* arguments);

}  // namespace te::cuda
