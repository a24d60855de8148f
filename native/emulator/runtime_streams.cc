// Streams whose work runs later, and events.
#include <utility>

#include "emulator/check.h"
#include "emulator/fiber.h"
#include "emulator/runtime_state.h"

namespace te::emu {
namespace {

std::set<StreamState*> streams;
StreamState per_thread_stream, legacy_stream;

std::vector<StreamState*> all_streams() {
  std::vector<StreamState*> all(streams.begin(), streams.end());
  all.push_back(&per_thread_stream);
  all.push_back(&legacy_stream);
  return all;
}

}  // namespace

StreamState* state(cudaStream_t s) {
  if (s == nullptr || s == cudaStreamLegacy) return &legacy_stream;
  if (s == cudaStreamPerThread) return &per_thread_stream;
  return reinterpret_cast<StreamState*>(s);
}

void add_stream(StreamState* s) { streams.insert(s); }
void remove_stream(StreamState* s) { streams.erase(s); }

bool forbidden() {
  bool found = false;
  const auto look = [&](StreamState* s) {
    if (!restricts(s)) return;
    break_capture(s);
    found = true;
  };
  for (StreamState* s : streams) look(s);
  look(&per_thread_stream);
  return found;
}

bool advance(StreamState* s) {
  if (s->queue.empty()) return false;
  Item& item = s->queue.front();
  if (item.await && item.await->reached < item.count) return false;
  if (item.ready && sticky == cudaSuccess && !item.ready()) return false;
  const Item now = std::move(item);
  s->queue.pop_front();
  if (now.work && sticky == cudaSuccess) now.work();
  return true;
}

// One thing of each stream, in a random order, until `done`. False when nothing could go on.
bool advance_all(const std::function<bool()>& done) {
  std::vector<StreamState*> all = all_streams();
  bool moved = false;
  for (size_t i = all.size(); i > 1; --i) std::swap(all[i - 1], all[draw() % i]);
  for (StreamState* s : all)
    if (!done() && advance(s)) moved = true;
  return moved;
}

// Whether something waits for another process. Other threads then have the emulator for a moment.
bool wait_outside() {
  bool waits = false;
  for (const StreamState* s : all_streams()) waits = waits || (!s->queue.empty() && s->queue.front().ready);
  if (!waits) return false;
  mutex.unlock();
  std::this_thread::sleep_for(std::chrono::microseconds(50));
  mutex.lock();
  return true;
}

void run_until(const std::function<bool()>& done) {
  if (done()) return;
  const OpenArena open;
  while (!done()) {
    if (!advance_all(done) && !done() && !wait_outside()) {
      failure_text = "the streams wait for each other, or for an event that is never recorded";
      sticky = cudaErrorLaunchFailure;
      return;
    }
  }
}

void drain(StreamState* s) {
  run_until([s] { return s->queue.empty() || sticky != cudaSuccess; });
}

void drain_all() {
  for (StreamState* s : all_streams()) drain(s);
}

cudaError_t enqueue(StreamState* s, Item item) {
  if (sticky != cudaSuccess) return result(sticky);
  if (s->capture) return capture_work(s, std::move(item)), cudaSuccess;
  s->queue.push_back(std::move(item));
  if (draw() % 8 == 0) advance(s);  // a GPU may also be quick
  return cudaSuccess;
}

}  // namespace te::emu

using namespace te::emu;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* out, unsigned) {
  std::lock_guard lock(mutex);
  auto* s = new StreamState;
  add_stream(s);
  *out = reinterpret_cast<cudaStream_t>(s);
  return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  std::lock_guard lock(mutex);
  StreamState* s = state(stream);
  drain(s);
  remove_stream(s);
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
  drain_all();
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
  if (state(stream)->capture) return capture_record(state(stream), e);
  e->was_captured = false, e->capture = nullptr;
  const uint64_t count = ++e->recorded;
  return enqueue(state(stream), {[e, count] {
                   e->reached = std::max(e->reached, count);
                   e->time = std::chrono::steady_clock::now();
                 }});
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  std::lock_guard lock(mutex);
  auto* e = reinterpret_cast<EventState*>(event);
  if (e->was_captured || state(stream)->capture) return capture_wait(state(stream), e);
  if (e->recorded == 0) return cudaSuccess;  // a wait for an event never recorded does nothing
  return enqueue(state(stream), {nullptr, e, e->recorded});
}
cudaError_t cudaEventQuery(cudaEvent_t event) {
  std::lock_guard lock(mutex);
  auto* e = reinterpret_cast<EventState*>(event);
  if (sticky != cudaSuccess) return result(sticky);
  if (e->was_captured) return result(cudaErrorCapturedEvent);
  return e->reached >= e->recorded ? cudaSuccess : cudaErrorNotReady;
}
cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  std::lock_guard lock(mutex);
  auto* e = reinterpret_cast<EventState*>(event);
  if (e->was_captured) return result(cudaErrorCapturedEvent);
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
// The same for work that goes on when `ready`, which is asked again and again, says that it is done.
__attribute__((visibility("default"))) cudaError_t te_emu_queue_library_wait(cudaStream_t stream, bool (*ready)(void*),
                                                                             void (*release)(void*), void* data) {
  std::lock_guard lock(mutex);
  const std::shared_ptr<void> held(data, release);
  Item item;
  item.ready = [=] {
    const OpenArena open;
    return ready(held.get());
  };
  return enqueue(state(stream), std::move(item));
}
// What can go on goes on, as on a GPU that nobody waits for.
__attribute__((visibility("default"))) void te_emu_go_on() {
  std::lock_guard lock(mutex);
  const OpenArena open;
  while (advance_all([] { return false; })) {
  }
}
// Whether the bytes lie in one allocation; and that a library wrote them.
__attribute__((visibility("default"))) bool te_emu_inside(const void* p, size_t bytes) { return inside(p, bytes); }
__attribute__((visibility("default"))) void te_emu_written(void* p, size_t bytes) { check_written(p, bytes); }
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  std::lock_guard lock(mutex);
  return enqueue(state(stream), {[=] { function(data); }});
}

}  // extern "C"
