// NVRTC, opened at run time: nothing is linked. The declarations are our own.
#pragma once
#include <cstddef>
#include <string>

namespace te::cuda::nvrtc {

using Program = struct NvrtcProgram*;

// X(name, arguments): every function returns 0, or the number of an error.
#define TE_NVRTC_FUNCTIONS(X)                                                                                       \
  X(Version, (int* major, int* minor))                                                                              \
  X(CreateProgram, (Program * program, const char* source, const char* name, int headers, const char* const* texts, \
                    const char* const* names))                                                                      \
  X(DestroyProgram, (Program * program))                                                                            \
  X(CompileProgram, (Program program, int count, const char* const* options))                                       \
  X(GetProgramLogSize, (Program program, size_t * bytes))                                                           \
  X(GetProgramLog, (Program program, char* log))                                                                    \
  X(GetCUBINSize, (Program program, size_t * bytes))                                                                \
  X(GetCUBIN, (Program program, char* image))

struct Library {
  std::string reason;  // why it cannot be used; empty where it can
  int major = 0, minor = 0;
#define X(name, arguments) int(*name) arguments = nullptr;
  TE_NVRTC_FUNCTIONS(X)
#undef X
};

const Library& library();

// Machine code for the architecture, such as "sm_90". Throws te::Error with the compiler's words.
std::string compile(const std::string& source, const std::string& architecture);

}  // namespace te::cuda::nvrtc
