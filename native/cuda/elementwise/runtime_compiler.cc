// From a source to a kernel: the process's own, the disk's, or NVRTC's.
#include "cuda/elementwise/runtime_compiler.h"

#include <atomic>
#include <map>
#include <mutex>

#include "cuda/elementwise/kernel_cache.h"
#include "cuda/elementwise/nvrtc.h"
#include "te/settings.h"

namespace te::cuda {
namespace {

struct Loaded {
  const void* kernel = nullptr;
  std::string reason;  // why there is none
};

const void* load(const std::string& image) {
  cudaLibrary_t library = nullptr;
  check(cudaLibraryLoadData(&library, image.data(), nullptr, nullptr, 0, nullptr, nullptr, 0), "a compiled kernel");
  cudaKernel_t kernel = nullptr;
  check(cudaLibraryGetKernel(&kernel, library, "te_kernel"), "a compiled kernel");
  // CUDA loads code at its first use, which must not be inside of a capture.
  cudaFuncAttributes attributes;
  check(cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(kernel)), "a compiled kernel");
  return reinterpret_cast<const void*>(kernel);
}

Loaded compile(const std::string& source, const std::string& architecture, const std::string& key) {
  const std::string folder = kernel_cache_folder();
  std::string image;
  try {
    if (read_cached(folder, key, &image)) return {load(image), ""};
  } catch (const Error&) {
    cudaGetLastError();  // written by a newer compiler than this driver's, say
  }
  try {
    image = nvrtc::compile(source, architecture);
    const void* kernel = load(image);
    write_cached(folder, key, image);
    return {kernel, ""};
  } catch (const Error& error) {
    cudaGetLastError();
    static std::atomic<bool> noted = false;
    if (!noted.exchange(true)) note_problem(std::string("Elementwise code is interpreted, slowly: ") + error.what());
    return {nullptr, error.what()};
  }
}

}  // namespace

Compile wanted_compilation() {
  const std::string asked = setting("TE_NVRTC");
  return asked == "off" ? Compile::never : asked == "always" ? Compile::always : Compile::large;
}

const void* compiled_kernel(const std::string& source, std::string* why) {
  const nvrtc::Library& nvrtc = nvrtc::library();
  if (!nvrtc.reason.empty()) return *why = nvrtc.reason, nullptr;
  const std::string architecture = "sm_" + std::to_string(context().capability());
  const std::string key = fingerprint(architecture + " nvrtc " + std::to_string(nvrtc.major) + "." +
                                      std::to_string(nvrtc.minor) + "\n" + source);
  static auto* mutex = new std::mutex;
  static auto* kernels = new std::map<std::pair<int, std::string>, Loaded>;  // by GPU, because each loads its own
  const std::lock_guard lock(*mutex);
  const auto [at, is_new] = kernels->try_emplace({context().ordinal, key});
  if (is_new) at->second = compile(source, architecture, key);
  if (!at->second.kernel) *why = at->second.reason;
  return at->second.kernel;
}

void launch_compiled(const char* what, const void* kernel, const Launch& shape, void* arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = shape.grid;
  config.blockDim = shape.threads;
  config.dynamicSmemBytes = shape.shared_bytes;
  config.stream = stream();
  check(cudaLaunchKernelExC(&config, kernel, &arguments), what);
}

}  // namespace te::cuda
