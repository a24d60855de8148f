// The CUDA runtime on the emulator: errors, devices and launches.
#include "emulator/runtime.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <unordered_map>
#include <utility>

#include "emulator/fiber.h"
#include "emulator/runtime_state.h"

namespace te::emu {

std::recursive_mutex mutex;
std::string failure_text;
cudaError_t sticky = cudaSuccess;

namespace {
thread_local cudaError_t last = cudaSuccess;
thread_local int current_device = 0;
std::unordered_map<const void*, size_t> shared_limit;
size_t limit_of(const void* function) {  // of dynamic shared memory
  const auto limit = shared_limit.find(function);
  return limit == shared_limit.end() ? size_t{48} << 10 : limit->second;
}

// TE_EMU_DEVICES: how many GPUs there seem to be. They share their memory.
int device_count() {
  static const int count = [] {
    const char* text = std::getenv("TE_EMU_DEVICES");
    return text ? std::max(0, std::atoi(text)) : 1;
  }();
  return count;
}

// TE_EMU_FAIL=name or name:n: the n-th launch of this kernel (the first) accesses memory that is not there.
bool fails_on_demand(const std::string& name) {
  static const std::string wish = std::getenv("TE_EMU_FAIL") ? std::getenv("TE_EMU_FAIL") : "";
  static int left = -1;
  if (wish.empty()) return false;
  const size_t colon = wish.find(':');
  if (name != wish.substr(0, colon)) return false;
  if (left < 0) left = colon == std::string::npos ? 1 : std::atoi(wish.c_str() + colon + 1);
  return --left == 0;
}
}  // namespace

cudaError_t result(cudaError_t e) {
  if (e != cudaSuccess) last = e;
  return e;
}

const char* last_failure() { return failure_text.c_str(); }

cudaError_t queue_bound(const char* name, const void* function, dim3 grid, dim3 threads, size_t shared_bytes,
                        cudaStream_t stream, Bound bound) {
  std::lock_guard lock(mutex);
  const uint64_t count = static_cast<uint64_t>(threads.x) * threads.y * threads.z;
  if (count == 0 || count > 1024 || threads.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    return result(cudaErrorInvalidConfiguration);
  if (shared_bytes > limit_of(function)) return result(cudaErrorInvalidValue);
  return enqueue(state(stream), {[=] {
                   const OpenArena open;
                   if (fails_on_demand(name)) {
                     failure_text = std::string(name) + ": an access outside of every allocation, on demand";
                     sticky = cudaErrorIllegalAddress;
                     return;
                   }
                   const char* wrong =
                       run_grid(grid, threads, shared_bytes, bound.call, bound.arguments.get(), bound.bytes, name);
                   if (!wrong) return;
                   failure_text = wrong;
                   std::fprintf(stderr, "te emulator: %s\n", wrong);
                   sticky = cudaErrorLaunchFailure;
                 }});
}

}  // namespace te::emu

using namespace te::emu;

extern "C" {

cudaError_t cudaGetLastError() { return sticky != cudaSuccess ? sticky : std::exchange(last, cudaSuccess); }
cudaError_t cudaPeekAtLastError() { return sticky != cudaSuccess ? sticky : last; }
const char* cudaGetErrorName(cudaError_t) { return "cudaError"; }
const char* cudaGetErrorString(cudaError_t e) {
  static thread_local std::string text;
  if (e == cudaErrorLaunchFailure || e == cudaErrorIllegalAddress)
    return (text = "unspecified launch failure (emulated: " + failure_text + ")").c_str();
  return (text = "CUDA error " + std::to_string(static_cast<int>(e)) + " (emulated)").c_str();
}
cudaError_t cudaDriverGetVersion(int* v) { return *v = 13000, cudaSuccess; }
cudaError_t cudaRuntimeGetVersion(int* v) { return *v = 13000, cudaSuccess; }
cudaError_t cudaGetDeviceCount(int* n) { return *n = device_count(), cudaSuccess; }
cudaError_t cudaSetDevice(int device) {
  if (device < 0 || device >= device_count()) return result(cudaErrorInvalidDevice);
  current_device = device;
  return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) { return *device = current_device, cudaSuccess; }
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* p, int) {
  *p = cudaDeviceProp{};
  std::snprintf(p->name, sizeof p->name, "emulated on the CPU");
  p->major = 9;
  p->totalGlobalMem = memory_limit();
  p->sharedMemPerBlock = 48 << 10;
  p->sharedMemPerBlockOptin = 227 << 10;
  p->multiProcessorCount = 4;
  p->maxThreadsPerBlock = 1024;
  p->warpSize = 32;
  return cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int) {
  switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
      *value = 4;
      return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = 227 << 10;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMajor:
      *value = 9;
      return cudaSuccess;
    case cudaDevAttrComputeCapabilityMinor:
      *value = 0;
      return cudaSuccess;
    default:
      return result(cudaErrorInvalidValue);
  }
}
// TE_EMU_NO_CODE=1: the kernels are for other GPUs.
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void* function) {
  std::lock_guard lock(mutex);
  *attributes = {};
  attributes->maxDynamicSharedSizeBytes = static_cast<int>(limit_of(function));
  return std::getenv("TE_EMU_NO_CODE") ? result(cudaErrorNoKernelImageForDevice) : cudaSuccess;
}
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  std::lock_guard lock(mutex);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value > 227 << 10)
    return result(cudaErrorInvalidValue);
  shared_limit[function] = static_cast<size_t>(value);
  return cudaSuccess;
}

}  // extern "C"
