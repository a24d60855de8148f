// attention_bias_backward: the gradient of the scores, summed over the samples and heads that share a bias. A kernel of
// its own: only programs that want this gradient pay for it.
#include "cuda/attention/gradient.h"
#include "cuda/attention/simple_gradient.cuh"
#include "cuda/launch.h"
#include "cuda/primitives.cuh"

namespace te::cuda::attention {
namespace {

using te::attention::Problem;

// A block has one tile of the gradient.
template <class T>
__global__ void __launch_bounds__(kSimpleThreads)
    bias_gradient(const __grid_constant__ Operands a, int bias_batch, int bias_heads) {
  SimpleMemory& m = block_memory<SimpleMemory>();
  const int key_tile = blockIdx.x % a.key_tiles(), rest = blockIdx.x / a.key_tiles();
  const int query_tile = rest % a.query_tiles(), slice = rest / a.query_tiles();
  const int b0 = slice / bias_heads, head0 = slice % bias_heads;
  const int samples = bias_batch > 1 ? 1 : a.batch, heads = bias_heads > 1 ? 1 : a.heads;
  const uint2 key = dropout_key(a);
  const Span tiles = key_tiles_of(a, query_tile);
  TileSums sum = {};
  for (int b = b0; b < b0 + samples && key_tile >= tiles.first && key_tile < tiles.last; ++b) {
    for (int head = head0; head < head0 + heads; ++head) {
      const Head h{b, head};
      if (h.state(a, query_tile, key_tile) == TileState::hidden) continue;
      gradient_tile<T>(a, h, query_tile, key_tile, key, m);
#pragma unroll
      for (int r = 0; r < 4; ++r)
#pragma unroll
        for (int c = 0; c < 8; ++c) sum[r][c] += m.dscores[tile_row(r)][tile_column(c)];
    }
  }
#pragma unroll
  for (int r = 0; r < 4; ++r) {
    const int i = query_tile * kTile + tile_row(r);
    if (i >= a.queries) continue;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      const int j = key_tile * kTile + tile_column(c);
      const int64_t at = (static_cast<int64_t>(slice) * a.queries + i) * a.keys + j;
      if (j < a.keys) store_real(a.bias_dtype, a.dbias, at, a.bias_scale * sum[r][c]);
    }
  }
}

class AttentionBiasBackward : public Kernel {
 public:
  explicit AttentionBiasBackward(const Problem& p) : p_(p) {}
  size_t scratch_bytes() const override { return gradient_bytes(p_); }

  void run(const Call& call) override {
    Operands a = read_gradient(p_, call, call.scratch);
    a.dbias = call.out[0];
    if (p_.dtype == DType::float32)
      queue<float>(a);
    else if (p_.dtype == DType::bfloat16)
      queue<__nv_bfloat16>(a);
    else
      queue<__half>(a);
  }

 private:
  template <class T>
  void queue(const Operands& a) const {
    const int64_t blocks = p_.bias_batch * p_.bias_heads * a.query_tiles() * a.key_tiles();
    if (blocks == 0) return;
    allow_shared(bias_gradient<T>, sizeof(SimpleMemory));
    launch("attention_bias_backward", bias_gradient<T>,
           {dim3(static_cast<unsigned>(blocks)), dim3(kSimpleThreads), sizeof(SimpleMemory)}, a,
           static_cast<int>(p_.bias_batch), static_cast<int>(p_.bias_heads));
  }

  Problem p_;
};

std::unique_ptr<Kernel> prepare_attention_bias_backward(const Node& node, std::string* why) {
  Problem problem;
  if (!read_problem(node, te::attention::kBackwardOperands, &problem, why)) return nullptr;
  return std::make_unique<AttentionBiasBackward>(problem);
}

TE_CUDA_KERNEL(attention_bias_backward, prepare_attention_bias_backward);

}  // namespace
}  // namespace te::cuda::attention
