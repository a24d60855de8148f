// Memory of the emulated GPU, pinned memory of the machine, and copies.
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "emulator/check.h"
#include "emulator/runtime_state.h"

namespace te::emu {
namespace {

constexpr size_t kGap = 256;  // between allocations: never allocated

std::map<char*, size_t> allocations;
std::multimap<size_t, char*> free_blocks;
std::map<char*, size_t> pinned;
char* arena = nullptr;
size_t arena_used = 0;
int arena_open = 0;
size_t held = 0;

bool guarded() {
  static const bool on = std::getenv("TE_EMU_GUARD") != nullptr;
  return on;
}
size_t arena_used_pages() { return (arena_used + 4095) & ~size_t{4095}; }

void reserve_arena() {
  if (arena) return;
  void* p = mmap(nullptr, kArena, guarded() ? PROT_NONE : PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) std::abort();
  arena = static_cast<char*>(p);
}

}  // namespace

OpenArena::OpenArena() {
  if (guarded() && arena && arena_open++ == 0) mprotect(arena, arena_used_pages(), PROT_READ | PROT_WRITE);
}
OpenArena::~OpenArena() {
  if (guarded() && arena && --arena_open == 0) mprotect(arena, arena_used_pages(), PROT_NONE);
}

size_t memory_limit() {
  static const size_t bytes = [] {
    const char* text = std::getenv("TE_EMU_MEMORY");
    return text ? std::strtoull(text, nullptr, 10) : size_t{4} << 30;
  }();
  return std::min(bytes, kArena);
}

bool inside(const void* p, size_t bytes) {
  const char* c = static_cast<const char*>(p);
  auto after = allocations.upper_bound(const_cast<char*>(c));
  if (after == allocations.begin()) return false;
  --after;
  return c + bytes <= after->first + after->second;
}

void copy(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  const OpenArena open;
  for (const void* p : {static_cast<const void*>(to), from}) {
    if (is_device_address(p) && !inside(p, bytes)) {
      failure_text = "a copy of " + std::to_string(bytes) + " bytes leaves its allocation";
      std::fprintf(stderr, "te emulator: %s\n", failure_text.c_str());
      sticky = cudaErrorIllegalAddress;
      return;
    }
  }
  std::memmove(to, from, bytes);
  check_copy(to, from, bytes);
}

bool is_device_address(const void* p) {
  return arena && static_cast<const char*>(p) >= arena && static_cast<const char*>(p) < arena + kArena;
}

size_t device_bytes() { return held; }

}  // namespace te::emu

using namespace te::emu;

extern "C" {

cudaError_t cudaMalloc(void** out, size_t bytes) {
  std::lock_guard lock(mutex);
  if (sticky != cudaSuccess) return result(sticky);
  if (forbidden()) return result(cudaErrorStreamCaptureUnsupported);
  if (bytes == 0) return *out = nullptr, cudaSuccess;
  if (held + bytes > memory_limit()) return result(cudaErrorMemoryAllocation);
  reserve_arena();
  const size_t size = (bytes + 255) & ~size_t{255};
  char* at = nullptr;
  const auto found = free_blocks.find(size);
  if (found != free_blocks.end()) {
    at = found->second;
    free_blocks.erase(found);
  } else {
    if (arena_used + size + kGap > kArena) return result(cudaErrorMemoryAllocation);
    at = arena + arena_used;
    arena_used += size + kGap;
    if (guarded() && arena_open) mprotect(arena, arena_used_pages(), PROT_READ | PROT_WRITE);
  }
  allocations[at] = bytes;
  held += bytes;
  const OpenArena open;
  std::memset(at, 0xff, size);
  check_allocated(at, bytes);
  *out = at;
  return cudaSuccess;
}

cudaError_t cudaFree(void* p) {
  std::lock_guard lock(mutex);
  if (!p) return cudaSuccess;
  if (forbidden()) return result(cudaErrorStreamCaptureUnsupported);
  drain_all();  // waits for the device, as CUDA's does
  const auto found = allocations.find(static_cast<char*>(p));
  if (found == allocations.end()) return result(cudaErrorInvalidValue);
  const size_t size = (found->second + 255) & ~size_t{255};
  held -= found->second;
  const OpenArena open;
  std::memset(p, 0xff, size);
  check_freed(p, found->second);
  free_blocks.emplace(size, found->first);
  allocations.erase(found);
  return cudaSuccess;
}

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  std::lock_guard lock(mutex);
  *total = memory_limit();
  *free = *total - held;
  return cudaSuccess;
}

cudaError_t cudaMallocHost(void** out, size_t bytes) {
  std::lock_guard lock(mutex);
  if (forbidden()) return result(cudaErrorStreamCaptureUnsupported);
  *out = std::aligned_alloc(4096, (bytes + 4095) & ~size_t{4095});
  pinned[static_cast<char*>(*out)] = bytes;
  return cudaSuccess;
}
cudaError_t cudaFreeHost(void* p) {
  std::lock_guard lock(mutex);
  drain_all();
  pinned.erase(static_cast<char*>(p));
  std::free(p);
  return cudaSuccess;
}

// From memory that is not pinned: its contents are taken before the call returns. To such memory: waits.
cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* to, const void* p) {
  const std::lock_guard lock(mutex);
  *to = {};
  const char* c = static_cast<const char*>(p);
  auto found = pinned.upper_bound(const_cast<char*>(c));
  const bool host = found != pinned.begin() && (--found, c < found->first + found->second);
  to->type = host ? cudaMemoryTypeHost : is_device_address(p) ? cudaMemoryTypeDevice : cudaMemoryTypeUnregistered;
  return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  StreamState* s = state(stream);
  const auto pageable = [](const void* p) {
    if (is_device_address(p)) return false;
    auto after = pinned.upper_bound(const_cast<char*>(static_cast<const char*>(p)));
    if (after == pinned.begin()) return true;
    --after;
    return static_cast<const char*>(p) >= after->first + after->second;
  };
  if (s->capture && (pageable(to) || pageable(from))) {
    break_capture(s);
    return result(cudaErrorStreamCaptureUnsupported);
  }
  if (pageable(from)) {
    const auto snapshot =
        std::make_shared<std::vector<char>>(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
    return enqueue(s, {[=] { copy(to, snapshot->data(), bytes); }});
  }
  const cudaError_t e = enqueue(s, {[=] { copy(to, from, bytes); }});
  if (e == cudaSuccess && pageable(to)) drain(s);
  return e == cudaSuccess ? result(sticky) : e;
}
cudaError_t cudaMemsetAsync(void* to, int value, size_t bytes, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  return enqueue(state(stream), {[=] {
                   const OpenArena open;
                   std::memset(to, value, bytes);
                   check_written(to, bytes);
                 }});
}
// On the legacy stream, which waits for the others.
cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind) {
  std::lock_guard lock(mutex);
  if (sticky != cudaSuccess) return result(sticky);
  if (forbidden()) return result(cudaErrorStreamCaptureImplicit);
  drain_all();
  copy(to, from, bytes);
  return result(sticky);
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  std::lock_guard lock(mutex);
  if (forbidden()) return result(cudaErrorStreamCaptureImplicit);
  if (const cudaError_t e = cudaMemsetAsync(to, value, bytes, nullptr); e != cudaSuccess) return e;
  drain_all();
  return result(sticky);
}

}  // extern "C"
