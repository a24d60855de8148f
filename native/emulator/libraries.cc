// Libraries of kernels that are loaded at run time: shared objects of the emulated NVRTC. They find the emulator's own
// functions in the addon that loads them.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "emulator/runtime.h"

namespace te::emu {
namespace {

struct LoadedKernel {
  void (*call)(void*);
  size_t argument_bytes;
};

// Lets libraries that are opened from now on see the addon's exported functions. (Those of a program are seen anyway.)
void export_self() {
  Dl_info here{};
  dladdr(reinterpret_cast<void*>(&export_self), &here);
  dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_GLOBAL);
}

// By way of a file, which needs no name once it is open.
void* open_image(const char* image) {
  char path[] = "/tmp/te-emulated-kernel-XXXXXX";
  const int file = mkstemp(path);
  if (file < 0) return nullptr;
  // As with machine code its length is in it: the section headers are the last of an ELF file.
  uint64_t sections;
  uint16_t size, count;
  std::memcpy(&sections, image + 40, 8);
  std::memcpy(&size, image + 58, 2);
  std::memcpy(&count, image + 60, 2);
  const size_t bytes = sections + static_cast<size_t>(size) * count;
  const bool written = write(file, image, bytes) == static_cast<ssize_t>(bytes);
  close(file);
  void* library = written ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (!library) std::fprintf(stderr, "te emulator: %s\n", dlerror());
  unlink(path);
  return library;
}

}  // namespace
}  // namespace te::emu

using namespace te::emu;

extern "C" {

cudaError_t cudaLibraryLoadData(cudaLibrary_t* library, const void* code, cudaJitOption*, void**, unsigned,
                                cudaLibraryOption*, void**, unsigned) {
  const char* image = static_cast<const char*>(code);
  if (std::memcmp(image, "\177ELF", 4) != 0) return cudaErrorInvalidKernelImage;
  export_self();
  void* opened = open_image(image);
  *library = reinterpret_cast<cudaLibrary_t>(opened);
  return opened ? cudaSuccess : cudaErrorInvalidKernelImage;
}
cudaError_t cudaLibraryGetKernel(cudaKernel_t* kernel, cudaLibrary_t library, const char* name) {
  void* opened = reinterpret_cast<void*>(library);
  void* call = std::strcmp(name, "te_kernel") == 0 ? dlsym(opened, "te_call") : nullptr;
  const void* bytes = dlsym(opened, "te_argument_bytes");
  if (!call || !bytes) return cudaErrorSymbolNotFound;
  *kernel = reinterpret_cast<cudaKernel_t>(
      new LoadedKernel{reinterpret_cast<void (*)(void*)>(call), *static_cast<const unsigned long*>(bytes)});
  return cudaSuccess;
}
// For kernels of libraries, which have one argument; those of the build are queued by cuda/launch.h.
cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config, const void* function, void** arguments) {
  const auto* kernel = static_cast<const LoadedKernel*>(function);
  const std::shared_ptr<void> copied(std::aligned_alloc(64, (kernel->argument_bytes + 63) & ~size_t{63}), std::free);
  std::memcpy(copied.get(), arguments[0], kernel->argument_bytes);
  return queue_bound("te_kernel", function, config->gridDim, config->blockDim, config->dynamicSmemBytes, config->stream,
                     {copied, kernel->argument_bytes, kernel->call});
}

}  // extern "C"
