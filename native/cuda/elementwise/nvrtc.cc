// Where NVRTC may be: the linker's folders, a CUDA toolkit, or a Python environment that holds NVIDIA's wheels.
#include "cuda/elementwise/nvrtc.h"

#include <dlfcn.h>
#include <glob.h>

#include <cstdlib>
#include <vector>

#include "te/settings.h"
#include "te/status.h"

namespace te::cuda::nvrtc {
namespace {

std::vector<std::string> candidates() {
  const std::string asked = setting("TE_NVRTC");
  if (!asked.empty() && asked != "always" && asked != "off") return {asked};
  std::vector<std::string> paths;
#ifdef TE_CUDA_EMULATED
  // What takes NVRTC's place lies beside this file.
  Dl_info here{};
  dladdr(reinterpret_cast<void*>(&library), &here);
  const std::string own = here.dli_fname ? here.dli_fname : "";
  return {own.substr(0, own.find_last_of('/') + 1) + "te_emulated_nvrtc.so"};
#endif
  for (const char* name : {"libnvrtc.so.13", "libnvrtc.so.12"}) {
    paths.push_back(name);
    for (const std::string& home : {setting("CUDA_HOME"), setting("CUDA_PATH"), std::string("/usr/local/cuda")})
      if (!home.empty()) paths.push_back(home + "/lib64/" + name);
    for (const std::string& python : {setting("VIRTUAL_ENV"), setting("CONDA_PREFIX"), setting("HOME") + "/.local"})
      for (const char* folder : {"/cu13/lib/", "/cuda_nvrtc/lib/"})
        if (!python.empty()) paths.push_back(python + "/lib/python3*/site-packages/nvidia" + folder + name);
  }
  return paths;
}

// NVRTC looks for its second library by name alone; one that is loaded already is found.
void open_beside(const std::string& path) {
  const size_t slash = path.find_last_of('/');
  if (slash == std::string::npos) return;
  glob_t found{};
  glob((path.substr(0, slash) + "/libnvrtc-builtins.so.*").c_str(), 0, nullptr, &found);
  for (size_t i = 0; i < found.gl_pathc; ++i) dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
  globfree(&found);
}

void* open_first(std::string* reason) {
  for (const std::string& pattern : candidates()) {
    glob_t found{};
    glob(pattern.c_str(), GLOB_NOCHECK, nullptr, &found);
    void* file = nullptr;
    for (size_t i = 0; i < found.gl_pathc && !file; ++i) {
      file = dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
      if (file) open_beside(found.gl_pathv[i]);
    }
    globfree(&found);
    if (file) return file;
    const char* why = dlerror();
    if (reason->empty()) *reason = std::string("NVRTC was not found: ") + (why ? why : "no reason given");
  }
  return nullptr;
}

Library open() {
  Library library;
  void* file = open_first(&library.reason);
  if (!file) return library;
  library.reason.clear();
#define X(name, arguments)                                                             \
  library.name = reinterpret_cast<decltype(library.name)>(dlsym(file, "nvrtc" #name)); \
  if (!library.name && library.reason.empty()) library.reason = "NVRTC lacks nvrtc" #name;
  TE_NVRTC_FUNCTIONS(X)
#undef X
  if (library.reason.empty()) library.Version(&library.major, &library.minor);
  return library;
}

}  // namespace

const Library& library() {
  static const Library library = open();
  return library;
}

std::string compile(const std::string& source, const std::string& architecture) {
  const Library& nvrtc = library();
  if (!nvrtc.reason.empty()) throw Error("backend", nvrtc.reason);
  struct Owner {
    Program program = nullptr;
    ~Owner() {
      if (program) library().DestroyProgram(&program);
    }
  } owner;
  if (nvrtc.CreateProgram(&owner.program, source.c_str(), "te_kernel.cu", 0, nullptr, nullptr) != 0)
    throw Error("backend", "NVRTC took no source");
  const std::string target = "--gpu-architecture=" + architecture;
  const char* const options[] = {target.c_str(), "--std=c++17", "--device-as-default-execution-space"};
  const int status = nvrtc.CompileProgram(owner.program, 3, options);
  size_t bytes = 0;
  if (status != 0) {
    nvrtc.GetProgramLogSize(owner.program, &bytes);
    std::string log(bytes, '\0');
    if (bytes > 0) nvrtc.GetProgramLog(owner.program, log.data());
    throw Error("backend", "NVRTC could not compile for " + architecture + " (" + std::to_string(status) + "): " + log);
  }
  if (nvrtc.GetCUBINSize(owner.program, &bytes) != 0 || bytes == 0)
    throw Error("backend", "NVRTC gave no machine code for " + architecture);
  std::string image(bytes, '\0');
  if (nvrtc.GetCUBIN(owner.program, image.data()) != 0) throw Error("backend", "NVRTC gave no machine code");
  return image;
}

}  // namespace te::cuda::nvrtc
