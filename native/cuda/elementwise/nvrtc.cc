// Finds and opens NVRTC at run time, and compiles with it.
#include "cuda/elementwise/nvrtc.h"

#include <dlfcn.h>
#include <glob.h>
#include <link.h>

#include "cuda/libraries.h"
#include "te/settings.h"
#include "te/status.h"

namespace te::cuda::nvrtc {
namespace {

LibraryPlaces places() {
  const std::string asked = setting("TE_NVRTC");
  const bool is_file = asked != "always" && asked != "off";
  return {is_file ? "TE_NVRTC" : "", {"libnvrtc.so.13", "libnvrtc.so.12"}, "{cu13,cuda_nvrtc}", "te_emulated_nvrtc.so"};
}

// NVRTC looks for its second library by name alone; one that is loaded already is found.
void open_second(void* file) {
  link_map* map = nullptr;
  if (dlinfo(file, RTLD_DI_LINKMAP, &map) != 0) return;
  const std::string path = map->l_name;
  glob_t found{};
  glob((path.substr(0, path.find_last_of('/') + 1) + "libnvrtc-builtins.so.*").c_str(), 0, nullptr, &found);
  for (size_t i = 0; i < found.gl_pathc; ++i) dlopen(found.gl_pathv[i], RTLD_NOW | RTLD_LOCAL);
  globfree(&found);
}

Library open() {
  Library library;
  std::string why;
  void* file = open_library(places(), &why);
  if (!file) return library.reason = "NVRTC was not found: " + why, library;
  open_second(file);
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
