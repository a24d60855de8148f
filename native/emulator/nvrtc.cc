// NVRTC as a library to dlopen: compiles a source that has one kernel, te_kernel(Arguments), with the emulator's header
// into a shared object, which runtime libraries of the emulator (libraries.cc) load as if it were machine code.
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <string>

#define API extern "C" __attribute__((visibility("default")))

namespace {

struct Program {
  std::string source, log, image;
};

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::string command(const std::string& folder) {
  std::string flags =
      " -x c++ -std=c++20 -O1 -shared -fPIC -fvisibility=hidden -march=x86-64-v3 -ffp-contract=fast -fno-math-errno -w";
  const char* checked = std::getenv("TE_CUDA_EMULATED");
  if (checked && std::strcmp(checked, "checked") == 0)
    flags += " -fsanitize=thread --param=tsan-distinguish-volatile=1 --param=tsan-instrument-func-entry-exit=0";
  // The sanitizer's library is not linked: its functions are the checker's.
  return TE_COMPILER + flags +
         " -DTE_CUDA_EMULATED -I" TE_NATIVE " -I" TE_NATIVE "/include -isystem " TE_CUDA_HEADERS " -c " + folder +
         "/kernel.cc -o " + folder + "/kernel.o 2> " + folder + "/log && " TE_COMPILER " -shared " + folder +
         "/kernel.o -o " + folder + "/kernel.so 2>> " + folder + "/log";
}

}  // namespace

API int nvrtcVersion(int* major, int* minor) { return *major = 0, *minor = 0, 0; }
API int nvrtcCreateProgram(Program** program, const char* source, const char*, int, const char* const*,
                           const char* const*) {
  *program = new Program{source, "", ""};
  return 0;
}
API int nvrtcDestroyProgram(Program** program) { return delete *program, 0; }
API int nvrtcCompileProgram(Program* program, int, const char* const*) {
  char folder[] = "/tmp/te-emulated-nvrtc-XXXXXX";
  if (!mkdtemp(folder)) return 1;
  const std::string at = folder;
  std::ofstream(at + "/kernel.cc") << "#include \"emulator/device.h\"\n#define __CUDACC_RTC__\n"
                                   << program->source << R"(
extern "C" __attribute__((visibility("default"))) void te_call(void* arguments) {
  te_kernel(*static_cast<Arguments*>(arguments));
}
extern "C" __attribute__((visibility("default"))) const unsigned long te_argument_bytes = sizeof(Arguments);
)";
  const int status = std::system(command(at).c_str());
  program->log = contents(at + "/log");
  program->image = contents(at + "/kernel.so");
  for (const char* name : {"/kernel.cc", "/kernel.o", "/kernel.so", "/log"}) unlink((at + name).c_str());
  rmdir(folder);
  return status == 0 && !program->image.empty() ? 0 : 6;
}
API int nvrtcGetProgramLogSize(Program* program, size_t* bytes) { return *bytes = program->log.size() + 1, 0; }
API int nvrtcGetProgramLog(Program* program, char* log) {
  std::memcpy(log, program->log.c_str(), program->log.size() + 1);
  return 0;
}
API int nvrtcGetCUBINSize(Program* program, size_t* bytes) { return *bytes = program->image.size(), 0; }
API int nvrtcGetCUBIN(Program* program, char* image) {
  std::memcpy(image, program->image.data(), program->image.size());
  return 0;
}
