// Captured graphs: they hold arguments and pointers as they were.
#include <utility>

#include "emulator/runtime_state.h"

using namespace te::emu;

extern "C" {

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  std::lock_guard lock(mutex);
  StreamState* s = state(stream);
  if (s == state(cudaStreamLegacy) || s->capture) return result(cudaErrorStreamCaptureUnsupported);
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
