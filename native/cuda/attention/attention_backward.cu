// attention_backward: dq, dk and dv (or the packed gradient) from out and the statistics of the rows. One kernel goes
// along the keys of tiles of queries for dq, one along the queries of tiles of keys for dk and dv; each computes the
// scores again, so that no sum is shared and results have the same bits in every run.
#include "cuda/attention/gradient.h"
#include "cuda/attention/hopper.h"
#include "cuda/attention/simple_gradient.cuh"
#include "cuda/attention/tensor.h"
#include "cuda/launch.h"
#include "cuda/primitives.cuh"

namespace te::cuda::attention {
namespace {

using te::attention::Problem;

template <class T>
__global__ void __launch_bounds__(kSimpleThreads) query_gradient(const __grid_constant__ Operands a) {
  const QueryBlock block(a);
  simple_query_gradient<T>(a, block.head, block.tile, block_memory<SimpleMemory>());
}
template <class T>
__global__ void __launch_bounds__(kSimpleThreads) key_gradient(const __grid_constant__ Operands a) {
  const KeyBlock block(a);
  simple_key_gradient<T>(a, block.head, block.tile, block_memory<SimpleMemory>());
}

template <class T>
void simple_backward(const Operands& a) {
  const size_t bytes = sizeof(SimpleMemory);
  allow_shared(query_gradient<T>, bytes);
  allow_shared(key_gradient<T>, bytes);
  if (query_blocks(a) > 0)
    launch("attention_backward", query_gradient<T>, {dim3(query_blocks(a)), dim3(kSimpleThreads), bytes}, a);
  if (key_blocks(a) > 0)
    launch("attention_backward", key_gradient<T>, {dim3(key_blocks(a)), dim3(kSimpleThreads), bytes}, a);
}

class AttentionBackward : public Kernel {
 public:
  explicit AttentionBackward(const Problem& p)
      : p_(p), hopper_(takes_hopper(p)), tensor_(gradients_take_tensor_cores(p)) {}
  size_t scratch_bytes() const override {
    return aligned(gradient_bytes(p_)) + (hopper_ ? hopper_backward_bytes(p_) : 0);
  }
  std::string path() const override { return hopper_ ? "hopper" : tensor_ ? "tensor cores" : "simple"; }

  void run(const Call& call) override {
    Operands a = read_gradient(p_, call, call.scratch);
    a.dq = call.out[0];
    a.dk = p_.packing == "qkv" ? a.dq : call.out[1];
    a.dv = p_.packing == "none" ? call.out[2] : a.dk;
    if (hopper_)
      hopper_backward(a, p_.dtype, static_cast<char*>(call.scratch) + aligned(gradient_bytes(p_)));
    else if (tensor_)
      tensor_backward(a, p_.dtype);
    else if (p_.dtype == DType::float32)
      simple_backward<float>(a);
    else if (p_.dtype == DType::bfloat16)
      simple_backward<__nv_bfloat16>(a);
    else
      simple_backward<__half>(a);
  }

 private:
  Problem p_;
  bool hopper_, tensor_;
};

std::unique_ptr<Kernel> prepare_attention_backward(const Node& node, std::string* why) {
  Problem problem;
  if (!read_problem(node, te::attention::kBackwardOperands, &problem, why)) return nullptr;
  return std::make_unique<AttentionBackward>(problem);
}

TE_CUDA_KERNEL(attention_backward, prepare_attention_backward);

}  // namespace
}  // namespace te::cuda::attention
