// Finds and opens cuBLASLt at run time.
#include "cuda/gemm/cublaslt.h"

#include <dlfcn.h>

#include "cuda/libraries.h"
#include "te/settings.h"

namespace te::cuda::lt {
namespace {

constexpr size_t kOldest = 120000;  // 12.0: the first with FP8 as it is used here

const LibraryPlaces kPlaces = {
    "TE_CUBLASLT", {"libcublasLt.so.13", "libcublasLt.so.12"}, "{cu13,cublas}", "te_emulated_cublaslt.so"};

std::string version_text(size_t version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

Library open() {
  Library library;
  if (setting("TE_CUBLASLT") == "off") return library.reason = "TE_CUBLASLT=off", library;
  std::string why;
  void* file = open_library(kPlaces, &why);
  if (!file) return library.reason = "cuBLASLt was not found: " + why, library;
#define X(result, name, arguments)                                                        \
  library.name = reinterpret_cast<decltype(library.name)>(dlsym(file, "cublasLt" #name)); \
  if (!library.name && library.reason.empty()) library.reason = "cuBLASLt lacks cublasLt" #name;
  TE_CUBLASLT_FUNCTIONS(X)
#undef X
  if (!library.reason.empty()) return library;
  library.version = version_text(library.GetVersion());
  if (library.GetVersion() < kOldest) library.reason = "cuBLASLt " + library.version + " is older than 12.0";
  return library;
}

}  // namespace

const Library& library() {
  static const Library library = open();
  return library;
}

}  // namespace te::cuda::lt
