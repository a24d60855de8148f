// Finds and opens NCCL at run time.
#include "cuda/nccl/nccl.h"

#include <dlfcn.h>

#include "cuda/libraries.h"
#include "te/status.h"

namespace te::cuda::nccl {
namespace {

constexpr int kOldest = 21800;  // 2.18: the first with ncclGetLastError that GPUs of compute capability 9.0 run well

const LibraryPlaces kPlaces = {"TE_NCCL", {"libnccl.so.2"}, "nccl", "te_emulated_nccl.so"};

// Since 2.9 a version is 10000 times the major number, and so on.
std::string version_text(int version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

Library open(const std::string& wanted) {
  Library library;
  std::string why;
  void* file = nullptr;
  if (wanted.empty())
    file = open_library(kPlaces, &why);
  else if (!(file = dlopen(wanted.c_str(), RTLD_NOW | RTLD_LOCAL)))
    why = dlerror();
  if (!file)
    throw Error("backend", "initDistributed: NCCL was not found: " + why +
                               ". Install it (Debian, Ubuntu: apt-get install libnccl2; Python: pip install "
                               "nvidia-nccl-cu13), or set TE_NCCL to its library.");
#define X(result, name, arguments)                                                    \
  library.name = reinterpret_cast<decltype(library.name)>(dlsym(file, "nccl" #name)); \
  if (!library.name) throw Error("backend", "initDistributed: the library of NCCL lacks nccl" #name ".");
  TE_NCCL_FUNCTIONS(X)
#undef X
  int version = 0;
  check(library, library.GetVersion(&version), "ncclGetVersion");
  library.version = version_text(version);
  if (version < kOldest)
    throw Error("backend", "initDistributed: NCCL " + library.version + " is older than " + version_text(kOldest) +
                               ". Install a newer one, or set TE_NCCL to its library.");
  return library;
}

}  // namespace

const Library& library(const std::string& file) {
  static const Library library = open(file);
  return library;
}

void check(const Library& nccl, int status, const std::string& what, Comm comm) {
  if (status == kSuccess) return;
  std::string text = nccl.GetErrorString(status);
  if (const char* last = nccl.GetLastError(comm); last && *last) text += ": " + std::string(last);
  throw Error("backend", what + ": " + text);
}

}  // namespace te::cuda::nccl
