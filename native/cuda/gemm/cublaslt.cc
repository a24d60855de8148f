// Opens cuBLASLt at run time.
#include "cuda/gemm/cublaslt.h"

#include <dlfcn.h>

#include <cstdlib>

namespace te::cuda::lt {
namespace {

#ifdef TE_CUDA_EMULATED
// What takes cuBLASLt's place lies beside this file.
std::string beside() {
  Dl_info here{};
  dladdr(reinterpret_cast<void*>(&library), &here);
  const std::string path = here.dli_fname ? here.dli_fname : "";
  return path.substr(0, path.find_last_of('/') + 1) + "te_emulated_cublaslt.so";
}
#endif

Library open() {
  Library library;
  void* file = nullptr;
  if (const char* name = std::getenv("TE_CUBLASLT")) {
    file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  } else {
#ifdef TE_CUDA_EMULATED
    file = dlopen(beside().c_str(), RTLD_NOW | RTLD_LOCAL);
#endif
    for (const char* soname : {"libcublasLt.so.13", "libcublasLt.so.12"})
      if (!file) file = dlopen(soname, RTLD_NOW | RTLD_LOCAL);
  }
  if (!file) {
    const char* why = dlerror();
    library.reason = std::string("cuBLASLt was not found: ") + (why ? why : "no reason given");
    return library;
  }
#define X(name, arguments)                                                                \
  library.name = reinterpret_cast<decltype(library.name)>(dlsym(file, "cublasLt" #name)); \
  if (!library.name && library.reason.empty()) library.reason = "cuBLASLt lacks cublasLt" #name;
  TE_CUBLASLT_FUNCTIONS(X)
#undef X
  return library;
}

}  // namespace

const Library& library() {
  static const Library library = open();
  return library;
}

}  // namespace te::cuda::lt
