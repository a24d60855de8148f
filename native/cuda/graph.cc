// Captures on a stream of its own: other threads copy on the main stream meanwhile.
#include "cuda/graph.h"

#include <exception>
#include <utility>

#include "cuda/nccl/communicators.h"

namespace te::cuda {
namespace {

class Graph : public Recording {
 public:
  Graph(Context& context, cudaGraphExec_t graph, Notes collectives)
      : context_(context), graph_(graph), collectives_(std::move(collectives)) {}
  ~Graph() override {
    const Using use(context_);
    cudaGraphExecDestroy(graph_);
  }
  void replay() override {
    begin_again(collectives_);
    check(cudaGraphLaunch(graph_, context_.main), "the launch of a graph");
  }

 private:
  Context& context_;
  cudaGraphExec_t graph_;
  Notes collectives_;
};

}  // namespace

std::unique_ptr<Recording> capture(Context& context, const std::function<void()>& body) {
  const Using use(context, context.side);
  check(cudaStreamBeginCapture(context.side, cudaStreamCaptureModeThreadLocal), "capture");
  std::exception_ptr failure;
  Notes collectives;
  try {
    const Noting noting(collectives);
    body();
  } catch (...) {
    failure = std::current_exception();
  }
  cudaGraph_t graph = nullptr;
  const cudaError_t ended = cudaStreamEndCapture(context.side, &graph);
  if (failure) {
    if (graph) cudaGraphDestroy(graph);
    std::rethrow_exception(failure);
  }
  cudaGraphExec_t instance = nullptr;
  const bool made = ended == cudaSuccess && cudaGraphInstantiate(&instance, graph, 0) == cudaSuccess;
  if (graph) cudaGraphDestroy(graph);
  if (made) return std::make_unique<Graph>(context, instance, std::move(collectives));
  cudaGetLastError();
  return nullptr;
}

}  // namespace te::cuda
