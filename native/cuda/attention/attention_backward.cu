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
  if (a.spoilt && !a.spoilt[blockIdx.x]) return;
  const QueryBlock block(a);
  simple_query_gradient<T>(a, block.head, block.tile, block_memory<SimpleMemory>());
}
template <class T>
__global__ void __launch_bounds__(kSimpleThreads) key_gradient(const __grid_constant__ Operands a, int parts) {
  const uint8_t* spoilt = a.spoilt ? a.spoilt + query_blocks(a) + blockIdx.x : nullptr;
  if (spoilt && !spoilt[0] && !spoilt[(parts - 1) * gridDim.x]) return;
  const KeyBlock block(a);
  simple_key_gradient<T>(a, block.head, block.tile, block_memory<SimpleMemory>());
}

class AttentionBackward : public Kernel {
 public:
  explicit AttentionBackward(const Problem& p)
      : p_(p), hopper_(takes_hopper(p)), tensor_(gradients_take_tensor_cores(p)) {}
  size_t scratch_bytes() const override {
    if (hopper_) return aligned(gradient_bytes(p_)) + hopper_backward_bytes(p_);
    const int64_t query_blocks = tiles(p_.queries) * p_.batch * p_.heads;
    const int64_t key_blocks = tiles(p_.keys) * p_.batch * p_.groups;
    return gradient_bytes(p_) + (tensor_ ? query_blocks + parts() * key_blocks : 0);
  }
  std::string path() const override { return hopper_ ? "hopper" : tensor_ ? "tensor cores" : "simple"; }

  void run(const Call& call) override {
    Operands a = read_gradient(p_, call, call.scratch);
    a.dq = call.out[0];
    a.dk = p_.packing == "qkv" ? a.dq : call.out[1];
    a.dv = p_.packing == "none" ? call.out[2] : a.dk;
    if (hopper_) return hopper_backward(a, p_.dtype, static_cast<char*>(call.scratch) + aligned(gradient_bytes(p_)));
    if (tensor_) {
      a.spoilt = static_cast<uint8_t*>(call.scratch) + gradient_bytes(p_);
      tensor_backward(a, p_.dtype);
    }
    if (p_.dtype == DType::float32)
      simple_backward<float>(a);
    else if (p_.dtype == DType::bfloat16)
      simple_backward<__nv_bfloat16>(a);
    else
      simple_backward<__half>(a);
  }

 private:
  static int64_t tiles(int64_t positions) { return (positions + kTile - 1) / kTile; }
  int parts() const { return key_gradient_parts(static_cast<int>(std::max(p_.depth, p_.value_depth))); }

  // All blocks, or those that the tensor cores marked.
  template <class T>
  void simple_backward(const Operands& a) const {
    const dim3 threads(kSimpleThreads);
    const size_t bytes = sizeof(SimpleMemory);
    allow_shared(query_gradient<T>, bytes);
    allow_shared(key_gradient<T>, bytes);
    if (query_blocks(a) > 0)
      launch("attention_backward", query_gradient<T>, {dim3(query_blocks(a)), threads, bytes}, a);
    if (key_blocks(a) > 0)
      launch("attention_backward", key_gradient<T>, {dim3(key_blocks(a)), threads, bytes}, a, parts());
  }

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
