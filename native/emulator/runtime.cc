#include "emulator/runtime.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "emulator/check.h"
#include "emulator/fiber.h"

namespace te::emu {
namespace {

using Work = std::function<void()>;

struct EventState {
  uint64_t recorded = 0, reached = 0;  // how often
  std::chrono::steady_clock::time_point time;
};

struct Item {
  Work work;
  EventState* await = nullptr;  // goes on when `reached` is at least `count`
  uint64_t count = 0;
};

struct GraphState {
  std::vector<Item> items;
};

struct StreamState {
  std::deque<Item> queue;
  GraphState* capture = nullptr;
  bool capture_broken = false;
  bool capture_global = true;  // or calls of the capturing thread alone are restricted
  std::thread::id capture_thread;
  bool restricts() const { return capture && (capture_global || capture_thread == std::this_thread::get_id()); }
};

constexpr size_t kArena = size_t{16} << 30;
constexpr size_t kGap = 256;  // between allocations: never allocated

std::recursive_mutex mutex;  // one thread at a time works for the device
std::set<StreamState*> streams;
std::map<char*, size_t> allocations;
std::multimap<size_t, char*> free_blocks;
std::map<char*, size_t> pinned;
char* arena = nullptr;
size_t arena_used = 0;
int arena_open = 0;
size_t held = 0;
std::string failure_text;
cudaError_t sticky = cudaSuccess;  // a failed kernel: everything fails from now on, as on a GPU
thread_local cudaError_t last = cudaSuccess;
std::unordered_map<const void*, size_t> shared_limit;
StreamState per_thread_stream, legacy_stream;

size_t memory_limit() {
  static const size_t bytes = [] {
    const char* text = std::getenv("TE_EMU_MEMORY");
    return text ? std::strtoull(text, nullptr, 10) : size_t{4} << 30;
  }();
  return std::min(bytes, kArena);
}

cudaError_t result(cudaError_t e) {
  if (e != cudaSuccess) last = e;
  return e;
}

// With TE_EMU_GUARD=1 the pages of device memory can be touched only while an OpenArena lives. It costs system calls.
bool guarded() {
  static const bool on = std::getenv("TE_EMU_GUARD") != nullptr;
  return on;
}
class OpenArena {
 public:
  OpenArena() {
    if (guarded() && arena && arena_open++ == 0) mprotect(arena, arena_used_pages(), PROT_READ | PROT_WRITE);
  }
  ~OpenArena() {
    if (guarded() && arena && --arena_open == 0) mprotect(arena, arena_used_pages(), PROT_NONE);
  }
  static size_t arena_used_pages() { return (arena_used + 4095) & ~size_t{4095}; }
};

void reserve_arena() {
  if (arena) return;
  void* p = mmap(nullptr, kArena, guarded() ? PROT_NONE : PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) std::abort();
  arena = static_cast<char*>(p);
}

StreamState* state(cudaStream_t s) {
  if (s == nullptr || s == cudaStreamLegacy) return &legacy_stream;
  if (s == cudaStreamPerThread) return &per_thread_stream;
  return reinterpret_cast<StreamState*>(s);
}

// A call that is not allowed while some stream captures. It breaks the capture.
bool forbidden() {
  bool found = false;
  const auto look = [&](StreamState* s) {
    if (s->restricts()) found = s->capture_broken = true;
  };
  for (StreamState* s : streams) look(s);
  look(&per_thread_stream);
  return found;
}

// Runs the first thing in the queue. False when it has to wait for an event, or there is none.
bool advance(StreamState* s) {
  if (s->queue.empty()) return false;
  Item& item = s->queue.front();
  if (item.await && item.await->reached < item.count) return false;
  const Item now = std::move(item);
  s->queue.pop_front();
  if (now.work && sticky == cudaSuccess) now.work();
  return true;
}

std::vector<StreamState*> all_streams() {
  std::vector<StreamState*> all(streams.begin(), streams.end());
  all.push_back(&per_thread_stream);
  all.push_back(&legacy_stream);
  return all;
}

// Runs things of all streams in a random order until `done`.
template <class Done>
void run_until(Done done) {
  if (done()) return;
  const OpenArena open;
  std::vector<StreamState*> all = all_streams();
  while (!done()) {
    bool moved = false;
    for (size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[draw() % i]);
    for (StreamState* s : all)
      if (!done() && advance(s)) moved = true;
    if (!moved && !done()) {
      failure_text = "the streams wait for each other, or for an event that is never recorded";
      sticky = cudaErrorLaunchFailure;
      return;
    }
  }
}

void drain(StreamState* s) {
  run_until([s] { return s->queue.empty() || sticky != cudaSuccess; });
}

cudaError_t enqueue(StreamState* s, Item item) {
  if (sticky != cudaSuccess) return result(sticky);
  if (s->capture) {
    s->capture->items.push_back(std::move(item));
    return cudaSuccess;
  }
  s->queue.push_back(std::move(item));
  if (draw() % 8 == 0) advance(s);  // a GPU may also be quick
  return cudaSuccess;
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

}  // namespace

bool is_device_address(const void* p) {
  return arena && static_cast<const char*>(p) >= arena && static_cast<const char*>(p) < arena + kArena;
}

const char* last_failure() { return failure_text.c_str(); }
size_t device_bytes() { return held; }

cudaError_t queue_bound(const char* name, const void* function, dim3 grid, dim3 threads, size_t shared_bytes,
                        cudaStream_t stream, Bound bound) {
  std::lock_guard lock(mutex);
  const uint64_t count = static_cast<uint64_t>(threads.x) * threads.y * threads.z;
  if (count == 0 || count > 1024 || threads.z > 64 || grid.x == 0 || grid.y == 0 || grid.z == 0 ||
      grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    return result(cudaErrorInvalidConfiguration);
  const auto limit = shared_limit.find(function);
  if (shared_bytes > (limit == shared_limit.end() ? size_t{48} << 10 : limit->second))
    return result(cudaErrorInvalidValue);
  return enqueue(state(stream), {[=] {
                   const OpenArena open;
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

// --- errors and devices
// -----------------------------------------------------------------------------------------------

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
cudaError_t cudaGetDeviceCount(int* n) { return *n = 1, cudaSuccess; }
cudaError_t cudaSetDevice(int device) { return device == 0 ? cudaSuccess : result(cudaErrorInvalidDevice); }
cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
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
cudaError_t cudaFuncSetAttribute(const void* function, cudaFuncAttribute attribute, int value) {
  std::lock_guard lock(mutex);
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize || value > 227 << 10)
    return result(cudaErrorInvalidValue);
  shared_limit[function] = static_cast<size_t>(value);
  return cudaSuccess;
}

// --- memory
// -----------------------------------------------------------------------------------------------------------

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
    if (guarded() && arena_open) mprotect(arena, OpenArena::arena_used_pages(), PROT_READ | PROT_WRITE);
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
  for (StreamState* s : all_streams()) drain(s);  // waits for the device, as CUDA's does
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
  for (StreamState* s : all_streams()) drain(s);
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
    s->capture_broken = true;
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
  for (StreamState* s : all_streams()) drain(s);
  copy(to, from, bytes);
  return result(sticky);
}

cudaError_t cudaMemset(void* to, int value, size_t bytes) {
  std::lock_guard lock(mutex);
  if (forbidden()) return result(cudaErrorStreamCaptureImplicit);
  if (const cudaError_t e = cudaMemsetAsync(to, value, bytes, nullptr); e != cudaSuccess) return e;
  for (StreamState* s : all_streams()) drain(s);
  return result(sticky);
}

// --- streams and events
// -----------------------------------------------------------------------------------------------

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* out, unsigned) {
  std::lock_guard lock(mutex);
  auto* s = new StreamState;
  streams.insert(s);
  *out = reinterpret_cast<cudaStream_t>(s);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::lock_guard lock(mutex);
  StreamState* s = state(stream);
  drain(s);
  streams.erase(s);
  delete s;
  return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  std::lock_guard lock(mutex);
  if (forbidden()) return result(cudaErrorStreamCaptureUnsupported);
  drain(state(stream));
  return result(sticky);
}
cudaError_t cudaDeviceSynchronize() {
  std::lock_guard lock(mutex);
  if (forbidden()) return result(cudaErrorStreamCaptureUnsupported);
  for (StreamState* s : all_streams()) drain(s);
  return result(sticky);
}
cudaError_t cudaStreamQuery(cudaStream_t stream) {
  std::lock_guard lock(mutex);
  StreamState* s = state(stream);
  advance(s);
  if (sticky != cudaSuccess) return result(sticky);
  return s->queue.empty() ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* out, unsigned) {
  *out = reinterpret_cast<cudaEvent_t>(new EventState);
  return cudaSuccess;
}
cudaError_t cudaEventCreate(cudaEvent_t* out) { return cudaEventCreateWithFlags(out, 0); }
cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }  // kept: queues may still name it
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  auto* e = reinterpret_cast<EventState*>(event);
  const uint64_t count = ++e->recorded;
  return enqueue(state(stream), {[e, count] {
                   e->reached = std::max(e->reached, count);
                   e->time = std::chrono::steady_clock::now();
                 }});
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  std::lock_guard lock(mutex);
  auto* e = reinterpret_cast<EventState*>(event);
  if (e->recorded == 0) return cudaSuccess;  // a wait for an event never recorded does nothing
  return enqueue(state(stream), {nullptr, e, e->recorded});
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  std::lock_guard lock(mutex);
  auto* e = reinterpret_cast<EventState*>(event);
  if (sticky != cudaSuccess) return result(sticky);
  return e->reached >= e->recorded ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  std::lock_guard lock(mutex);
  auto* e = reinterpret_cast<EventState*>(event);
  run_until([e] { return e->reached >= e->recorded || sticky != cudaSuccess; });
  return result(sticky);
}
cudaError_t cudaEventElapsedTime(float* ms, cudaEvent_t a, cudaEvent_t b) {
  *ms = std::chrono::duration<float, std::milli>(reinterpret_cast<EventState*>(b)->time -
                                                 reinterpret_cast<EventState*>(a)->time)
            .count();
  return cudaSuccess;
}
// For libraries: work that touches device memory. `release` frees `data` when no queue and no graph holds the work.
__attribute__((visibility("default"))) cudaError_t te_emu_queue_library_work(cudaStream_t stream, void (*work)(void*),
                                                                             void (*release)(void*), void* data) {
  std::lock_guard lock(mutex);
  const std::shared_ptr<void> held(data, release);
  return enqueue(state(stream), {[=] {
                   const OpenArena open;
                   work(held.get());
                 }});
}
// Whether the bytes lie in one allocation; and that a library wrote them.
__attribute__((visibility("default"))) bool te_emu_inside(const void* p, size_t bytes) { return inside(p, bytes); }
__attribute__((visibility("default"))) void te_emu_written(void* p, size_t bytes) { check_written(p, bytes); }
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  std::lock_guard lock(mutex);
  return enqueue(state(stream), {[=] { function(data); }});
}

// --- graphs
// -----------------------------------------------------------------------------------------------------------

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  std::lock_guard lock(mutex);
  StreamState* s = state(stream);
  if (s == &legacy_stream || s->capture) return result(cudaErrorStreamCaptureUnsupported);
  s->capture = new GraphState;
  s->capture_broken = false;
  s->capture_global = mode == cudaStreamCaptureModeGlobal;
  s->capture_thread = std::this_thread::get_id();
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  std::lock_guard lock(mutex);
  StreamState* s = state(stream);
  if (!s->capture) return result(cudaErrorIllegalState);
  GraphState* g = std::exchange(s->capture, nullptr);
  if (s->capture_broken) {
    delete g;
    *graph = nullptr;
    return result(cudaErrorStreamCaptureInvalidated);
  }
  *graph = reinterpret_cast<cudaGraph_t>(g);
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  std::lock_guard lock(mutex);
  *status = state(stream)->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  *exec = reinterpret_cast<cudaGraphExec_t>(new GraphState(*reinterpret_cast<GraphState*>(graph)));
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  for (const Item& item : reinterpret_cast<GraphState*>(exec)->items)
    if (const cudaError_t e = enqueue(state(stream), item); e != cudaSuccess) return e;
  return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  *count = reinterpret_cast<GraphState*>(graph)->items.size();
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete reinterpret_cast<GraphState*>(graph), cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  std::lock_guard lock(mutex);
  return delete reinterpret_cast<GraphState*>(exec), cudaSuccess;
}

}  // extern "C"
