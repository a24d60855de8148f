// Captured graphs: they hold arguments and pointers as they were. A stream that waits for an event of a capture becomes
// a branch of it, which must be joined before the capture ends. Launched, each branch is a stream.
#include <algorithm>
#include <memory>
#include <utility>

#include "emulator/runtime_state.h"

namespace te::emu {

// A capture that is under way.
struct Capture {
  bool broken = false;
  bool global = true;  // or calls of the capturing thread alone are restricted
  std::thread::id thread;
  GraphState graph;
  struct Branch {
    StreamState* stream;
    size_t length = 0;           // how much work it has
    std::vector<size_t> behind;  // of each branch, how much comes before what is captured next
  };
  std::vector<Branch> branches;
  struct Recorded {
    int number;
    std::vector<size_t> behind;
  };
  std::map<EventState*, Recorded> events;

  void add(StreamState* s) {
    s->capture = this;
    s->branch = branches.size();
    branches.push_back({s});
  }
  bool is_joined(size_t branch) const {
    const std::vector<size_t>& behind = branches[0].behind;
    return branch == 0 || (branch < behind.size() && behind[branch] >= branches[branch].length);
  }
};

bool restricts(const StreamState* s) {
  return s->capture && (s->capture->global || s->capture->thread == std::this_thread::get_id());
}
void break_capture(StreamState* s) { s->capture->broken = true; }

void capture_work(StreamState* s, Item item) {
  ++s->capture->branches[s->branch].length;
  s->capture->graph.items.push_back({s->branch, std::move(item)});
}

cudaError_t capture_record(StreamState* s, EventState* event) {
  Capture& c = *s->capture;
  Capture::Branch& branch = c.branches[s->branch];
  std::vector<size_t> behind = branch.behind;
  behind.resize(std::max(behind.size(), s->branch + 1));
  behind[s->branch] = branch.length;
  event->was_captured = true, event->capture = &c;
  const int number = c.graph.events++;
  c.events[event] = {number, std::move(behind)};
  c.graph.items.push_back({s->branch, {}, number});
  return cudaSuccess;
}

cudaError_t capture_wait(StreamState* s, EventState* event) {
  if (s->capture && !event->was_captured) {  // the graph would wait for what it does not hold
    if (event->recorded == 0) return cudaSuccess;
    break_capture(s);
    return result(cudaErrorStreamCaptureIsolation);
  }
  Capture* const capture = event->capture;
  if (!capture) return result(cudaErrorCapturedEvent);
  if (!s->capture) capture->add(s);
  if (s->capture != capture) {
    break_capture(s);
    capture->broken = true;
    return result(cudaErrorStreamCaptureMerge);
  }
  const Capture::Recorded& recorded = capture->events.at(event);
  std::vector<size_t>& behind = capture->branches[s->branch].behind;
  behind.resize(std::max(behind.size(), recorded.behind.size()));
  for (size_t i = 0; i < recorded.behind.size(); ++i) behind[i] = std::max(behind[i], recorded.behind[i]);
  capture->graph.items.push_back({s->branch, {}, -1, recorded.number});
  return cudaSuccess;
}

namespace {

// A graph that can be launched. Its events and streams outlive it: queues may still name them.
struct Executable {
  GraphState graph;
  std::vector<EventState*> events;
  std::vector<StreamState*> streams;  // of the branches but the first
};

std::vector<StreamState*> idle_streams;

StreamState* take_stream() {
  const auto idle = std::find_if(idle_streams.begin(), idle_streams.end(), [](auto* s) { return s->queue.empty(); });
  if (idle != idle_streams.end()) {
    StreamState* const s = *idle;
    idle_streams.erase(idle);
    return s;
  }
  auto* made = new StreamState;
  add_stream(made);
  return made;
}

cudaError_t launch(const GraphItem& of, Executable* exec, StreamState* first) {
  StreamState* const s = of.branch == 0 ? first : exec->streams[of.branch - 1];
  if (of.records >= 0) {
    EventState* const e = exec->events[static_cast<size_t>(of.records)];
    const uint64_t count = ++e->recorded;
    return enqueue(s, {[e, count] { e->reached = std::max(e->reached, count); }});
  }
  if (of.awaits >= 0) {
    EventState* const e = exec->events[static_cast<size_t>(of.awaits)];
    return enqueue(s, {nullptr, e, e->recorded});
  }
  return enqueue(s, of.item);
}

}  // namespace
}  // namespace te::emu

using namespace te::emu;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  std::lock_guard lock(mutex);
  StreamState* s = state(stream);
  if (s == state(cudaStreamLegacy) || s->capture) return result(cudaErrorStreamCaptureUnsupported);
  auto* capture = new Capture;
  capture->global = mode == cudaStreamCaptureModeGlobal;
  capture->thread = std::this_thread::get_id();
  capture->add(s);
  return cudaSuccess;
}
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  std::lock_guard lock(mutex);
  StreamState* s = state(stream);
  *graph = nullptr;
  if (!s->capture) return result(cudaErrorIllegalState);
  if (s->branch != 0) return result(cudaErrorStreamCaptureUnmatched);
  const std::unique_ptr<Capture> capture(s->capture);
  for (const Capture::Branch& branch : capture->branches) branch.stream->capture = nullptr;
  for (const auto& [event, recorded] : capture->events)
    if (event->capture == capture.get()) event->capture = nullptr;
  if (capture->broken) return result(cudaErrorStreamCaptureInvalidated);
  for (size_t branch = 0; branch < capture->branches.size(); ++branch)
    if (!capture->is_joined(branch)) return result(cudaErrorStreamCaptureUnjoined);
  capture->graph.branches = capture->branches.size();
  *graph = reinterpret_cast<cudaGraph_t>(new GraphState(std::move(capture->graph)));
  return cudaSuccess;
}
cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  std::lock_guard lock(mutex);
  *status = state(stream)->capture ? cudaStreamCaptureStatusActive : cudaStreamCaptureStatusNone;
  return cudaSuccess;
}
cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  std::lock_guard lock(mutex);
  auto* made = new Executable{*reinterpret_cast<GraphState*>(graph), {}, {}};
  for (int i = 0; i < made->graph.events; ++i) made->events.push_back(new EventState);
  for (size_t i = 1; i < made->graph.branches; ++i) made->streams.push_back(take_stream());
  *exec = reinterpret_cast<cudaGraphExec_t>(made);
  return cudaSuccess;
}
cudaError_t cudaGraphLaunch(cudaGraphExec_t graph, cudaStream_t stream) {
  std::lock_guard lock(mutex);
  auto* exec = reinterpret_cast<Executable*>(graph);
  for (const GraphItem& item : exec->graph.items)
    if (const cudaError_t e = launch(item, exec, state(stream)); e != cudaSuccess) return e;
  return cudaSuccess;
}
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count) {
  const auto& items = reinterpret_cast<GraphState*>(graph)->items;
  const auto is_work = [](const GraphItem& item) { return item.records < 0 && item.awaits < 0; };
  *count = static_cast<size_t>(std::count_if(items.begin(), items.end(), is_work));
  return cudaSuccess;
}
cudaError_t cudaGraphDestroy(cudaGraph_t graph) { return delete reinterpret_cast<GraphState*>(graph), cudaSuccess; }
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t graph) {
  std::lock_guard lock(mutex);
  auto* exec = reinterpret_cast<Executable*>(graph);
  idle_streams.insert(idle_streams.end(), exec->streams.begin(), exec->streams.end());
  return delete exec, cudaSuccess;
}

}  // extern "C"
