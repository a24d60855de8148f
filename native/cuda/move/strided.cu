// slice, flip, broadcast_to and concat: strided copies. reshape and copy: the same bytes.
#include "cuda/move/strided_copy.h"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

// A copy of each input.
class Moves : public Kernel {
 public:
  Moves(const std::vector<StridedMove>& moves, size_t element_bytes) {
    for (const StridedMove& move : moves) copies_.emplace_back(move, element_bytes);
  }
  void run(const Call& call) override {
    for (size_t i = 0; i < copies_.size(); ++i) copies_[i].run(call.in[i], call.out[0]);
  }

 private:
  std::vector<StridedCopy> copies_;
};

template <bool (*read)(const Node&, StridedMove*, std::string*)>
std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  StridedMove move;
  if (!read(node, &move, why)) return nullptr;
  return std::make_unique<Moves>(std::vector{move}, dtype_bytes(node.outputs[0].dtype));
}

std::unique_ptr<Kernel> prepare_concat(const Node& node, std::string* why) {
  std::vector<StridedMove> moves;
  if (!read_concat(node, &moves, why)) return nullptr;
  return std::make_unique<Moves>(moves, dtype_bytes(node.outputs[0].dtype));
}

class Copy : public Kernel {
 public:
  explicit Copy(size_t bytes) : bytes_(bytes) {}
  void run(const Call& call) override {
    if (call.in[0] == call.out[0] || bytes_ == 0) return;
    check(cudaMemcpyAsync(call.out[0], call.in[0], bytes_, cudaMemcpyDeviceToDevice, stream()), "copy");
  }

 private:
  size_t bytes_;
};

std::unique_ptr<Kernel> prepare_copy(const Node& node, std::string* why) {
  if (!node.params.only({"shape"}, why)) return nullptr;
  if (node.inputs.size() != 1 || node.outputs.size() != 1 || node.inputs[0].dtype != node.outputs[0].dtype ||
      node.inputs[0].size() != node.outputs[0].size()) {
    *why = "input and output differ in dtype or number of elements";
    return nullptr;
  }
  return std::make_unique<Copy>(node.inputs[0].bytes());
}

TE_CUDA_KERNEL(slice, prepare<read_slice>);
TE_CUDA_KERNEL(flip, prepare<read_flip>);
TE_CUDA_KERNEL(broadcast_to, prepare<read_broadcast>);
TE_CUDA_KERNEL(concat, prepare_concat);
TE_CUDA_KERNEL(reshape, prepare_copy);
TE_CUDA_KERNEL(copy, prepare_copy);

}  // namespace
}  // namespace te::cuda
