// Libraries of kernels that are loaded at run time: shared objects of the emulated NVRTC, which find the emulator's own
// functions in the addon that loads them; and machine code of GPUs, which can be loaded and not run.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>

#include "emulator/runtime.h"

namespace te::emu {
namespace {

struct LoadedKernel {
  void (*call)(void*);  // null: machine code of a GPU
  size_t argument_bytes;
};

template <class T>
T field(const char* image, size_t at) {
  T value;
  std::memcpy(&value, image + at, sizeof value);
  return value;
}

// As with machine code its length is in it: the section headers are the last of an ELF file, or the program headers.
size_t image_bytes(const char* image) {
  const size_t sections = field<uint64_t>(image, 40) + size_t{field<uint16_t>(image, 58)} * field<uint16_t>(image, 60);
  const size_t programs = field<uint64_t>(image, 32) + size_t{field<uint16_t>(image, 54)} * field<uint16_t>(image, 56);
  return std::max(sections, programs);
}

constexpr uint16_t kMachineOfGpus = 190;  // EM_CUDA
// Stands for every library of machine code, whose only kernel is te_kernel.
char machine_code;

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
  const size_t bytes = image_bytes(image);
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
  if (field<uint16_t>(image, 18) == kMachineOfGpus) {
    if (std::string_view(image, image_bytes(image)).find(".text.te_kernel") == std::string_view::npos)
      return cudaErrorInvalidKernelImage;
    return *library = reinterpret_cast<cudaLibrary_t>(&machine_code), cudaSuccess;
  }
  export_self();
  void* opened = open_image(image);
  *library = reinterpret_cast<cudaLibrary_t>(opened);
  return opened ? cudaSuccess : cudaErrorInvalidKernelImage;
}
cudaError_t cudaLibraryGetKernel(cudaKernel_t* kernel, cudaLibrary_t library, const char* name) {
  void* opened = reinterpret_cast<void*>(library);
  if (opened == &machine_code)
    return *kernel = reinterpret_cast<cudaKernel_t>(new LoadedKernel{nullptr, 0}), cudaSuccess;
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
  if (!kernel->call) return cudaErrorNoKernelImageForDevice;
  const std::shared_ptr<void> copied(std::aligned_alloc(64, (kernel->argument_bytes + 63) & ~size_t{63}), std::free);
  std::memcpy(copied.get(), arguments[0], kernel->argument_bytes);
  return queue_bound("te_kernel", function, config->gridDim, config->blockDim, config->dynamicSmemBytes, config->stream,
                     {copied, kernel->argument_bytes, kernel->call});
}

}  // extern "C"
