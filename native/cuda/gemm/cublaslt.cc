// Finds and opens cuBLASLt at run time.
#include "cuda/gemm/cublaslt.h"

#include <dlfcn.h>
#include <glob.h>

#include <vector>

#include "te/settings.h"

namespace te::cuda::lt {
namespace {

constexpr size_t kOldest = 120000;  // 12.0: the first with FP8 as it is used here

const char* const kNames[] = {"libcublasLt.so.13", "libcublasLt.so.12"};

// Where Python packages of this prefix keep it.
void add_python_packages(const std::string& prefix, std::vector<std::string>* files) {
  for (const char* name : kNames) {
    const std::string pattern = prefix + "/lib/python3*/{site,dist}-packages/nvidia/{cu13,cublas}/lib/" + name;
    glob_t found{};
    if (glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0)
      files->insert(files->end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
    globfree(&found);
  }
}

std::vector<std::string> candidates() {
  std::vector<std::string> files;
  if (const std::string home = setting("CUDA_HOME"); !home.empty())
    for (const char* name : kNames) files.push_back(home + "/lib64/" + name);
  files.insert(files.end(), std::begin(kNames), std::end(kNames));
  for (const char* name : kNames) files.push_back(std::string("/usr/local/cuda/lib64/") + name);
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string prefix = setting(variable); !prefix.empty()) add_python_packages(prefix, &files);
  if (const std::string home = setting("HOME"); !home.empty()) add_python_packages(home + "/.local", &files);
  for (const char* prefix : {"/usr/local", "/usr"}) add_python_packages(prefix, &files);
  return files;
}

#ifdef TE_CUDA_EMULATED
// What takes cuBLASLt's place lies beside this file, and takes the runtime's functions from it.
std::string beside() {
  Dl_info here{};
  dladdr(reinterpret_cast<void*>(&library), &here);
  const std::string path = here.dli_fname ? here.dli_fname : "";
  dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
  return path.substr(0, path.find_last_of('/') + 1) + "te_emulated_cublaslt.so";
}
#endif

void* open_first(const std::vector<std::string>& files, std::string* why) {
  for (const std::string& name : files) {
    if (void* file = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return file;
    const char* error = dlerror();
    // What is there and does not open says more than what is not there.
    if (why->empty() || std::string(error).find("No such file") == std::string::npos) *why = error;
  }
  return nullptr;
}

std::string version_text(size_t version) {
  return std::to_string(version / 10000) + "." + std::to_string(version / 100 % 100) + "." +
         std::to_string(version % 100);
}

Library open() {
  Library library;
  const std::string wish = setting("TE_CUBLASLT");
  if (wish == "off") return library.reason = "TE_CUBLASLT=off", library;
  std::vector<std::string> files = {wish};
  if (wish.empty()) {
    files = candidates();
#ifdef TE_CUDA_EMULATED
    files = {beside()};
#endif
  }
  std::string why;
  void* file = open_first(files, &why);
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
