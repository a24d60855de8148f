// Looks for libraries in the places where NVIDIA puts them.
#include "cuda/libraries.h"

#include <dlfcn.h>
#include <glob.h>

#include "te/settings.h"

namespace te::cuda {
namespace {

// Where Python packages of this prefix keep it.
void add_python_packages(const LibraryPlaces& places, const std::string& prefix, std::vector<std::string>* files) {
  for (const std::string& name : places.files) {
    const std::string pattern = prefix + "/lib/python3*/{site,dist}-packages/nvidia/" + places.python + "/lib/" + name;
    glob_t found{};
    if (glob(pattern.c_str(), GLOB_BRACE, nullptr, &found) == 0)
      files->insert(files->end(), found.gl_pathv, found.gl_pathv + found.gl_pathc);
    globfree(&found);
  }
}

std::vector<std::string> candidates(const LibraryPlaces& places) {
  std::vector<std::string> files;
  if (const std::string home = setting("CUDA_HOME"); !home.empty())
    for (const std::string& name : places.files) files.push_back(home + "/lib64/" + name);
  files.insert(files.end(), places.files.begin(), places.files.end());
  for (const std::string& name : places.files) files.push_back("/usr/local/cuda/lib64/" + name);
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string prefix = setting(variable); !prefix.empty()) add_python_packages(places, prefix, &files);
  if (const std::string home = setting("HOME"); !home.empty()) add_python_packages(places, home + "/.local", &files);
  for (const char* prefix : {"/usr/local", "/usr"}) add_python_packages(places, prefix, &files);
  return files;
}

#ifdef TE_CUDA_EMULATED
// What takes a library's place lies beside this file, and takes the runtime's functions from it.
std::string beside(const std::string& name) {
  Dl_info here{};
  dladdr(reinterpret_cast<void*>(&open_library), &here);
  const std::string path = here.dli_fname ? here.dli_fname : "";
  dlopen(path.c_str(), RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
  return path.substr(0, path.find_last_of('/') + 1) + name;
}
#endif

}  // namespace

void* open_library(const LibraryPlaces& places, std::string* why) {
  const std::string wish = setting(places.setting.c_str());
  std::vector<std::string> files = {wish};
  if (wish.empty()) {
    files = candidates(places);
#ifdef TE_CUDA_EMULATED
    files = {beside(places.stand_in)};
#endif
  }
  for (const std::string& name : files) {
    if (void* file = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return file;
    const char* error = dlerror();
    // What is there and does not open says more than what is not there.
    if (why->empty() || std::string(error).find("No such file") == std::string::npos) *why = error;
  }
  return nullptr;
}

}  // namespace te::cuda
