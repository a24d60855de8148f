// attention: out = softmax(scale * q kᵀ + bias over visible keys) v with the statistics of the rows. Tensor cores take
// bfloat16 and float16 (tensor_forward.cuh), simple.cuh the rest. Where there are few rows and many keys, as in
// decoding, several blocks share the keys of a row, and a kernel puts their sums together.
#include "cuda/attention/hopper.h"
#include "cuda/attention/simple.cuh"
#include "cuda/attention/tensor.h"
#include "cuda/launch.h"
#include "cuda/primitives.cuh"

namespace te::cuda::attention {
namespace {

using te::attention::Problem;

template <class T>
__global__ void __launch_bounds__(kSimpleThreads) simple_attention(const __grid_constant__ Operands a) {
  if (a.spoilt && !a.spoilt[blockIdx.x]) return;
  const ForwardBlock block(a, kTile);
  simple_forward<T>(a, block, block.first, block_memory<SimpleMemory>());
}

constexpr int kJoinThreads = 128;

// A warp puts the splits of one row together, in their order.
template <class T>
__global__ void __launch_bounds__(kJoinThreads) join_splits(const __grid_constant__ Operands a) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * (kJoinThreads / 32) + threadIdx.x / 32;
  if (row >= a.rows()) return;
  const int lane = threadIdx.x % 32;
  const int64_t head = row / a.queries;
  const Head h{static_cast<int>(head / a.heads), static_cast<int>(head % a.heads)};
  const float* statistics = a.partial_statistics() + row * 2;
  float largest = -infinity(), total = 0;
  for (int s = 0; s < a.splits; ++s) largest = fmaxf(largest, statistics[s * a.rows() * 2]);
  const float base = largest == -infinity() ? 0.0f : largest;
  for (int s = 0; s < a.splits; ++s) {
    const float* part = statistics + s * a.rows() * 2;
    total = fmaf(fmaxf(expf(part[0] - base), kLeastWeight), part[1], total);
  }
  const RowEnd<T> end(a, h, static_cast<int>(row % a.queries), largest, total, lane == 0);
  for (int column = lane; column < a.value_depth; column += 32) {
    float sum = 0;
    for (int s = 0; s < a.splits; ++s) {
      const float factor = fmaxf(expf(statistics[s * a.rows() * 2] - base), kLeastWeight);
      sum = fmaf(factor, a.partial[(s * a.rows() + row) * a.value_depth + column], sum);
    }
    end.store(column, sum);
  }
}

class Attention : public Kernel {
 public:
  explicit Attention(const Problem& p) : p_(p), hopper_(takes_hopper(p)), tensor_(takes_tensor_cores(p)) {
    if (hopper_) return;
    const int64_t per_group = p.heads_per_group();
    if (per_group > 1 && per_group * p.queries <= kTile && p.mask_heads == 1) fold_ = static_cast<int>(per_group);
    const int64_t key_tiles = (p.keys + kTile - 1) / kTile, wanted = 2 * context().properties.multiProcessorCount;
    if (const int64_t blocks = this->blocks(); blocks > 0 && blocks < wanted)
      splits_ =
          static_cast<int>(std::clamp<int64_t>(std::min(wanted / blocks, key_tiles / kSplitTiles), 1, kMaxSplits));
  }

  size_t scratch_bytes() const override {
    if (hopper_) return hopper_forward_bytes(p_);
    return aligned(state_bytes(p_)) + partial_bytes() + (tensor_ ? blocks() * splits_ : 0);
  }
  std::string path() const override {
    if (hopper_) return "hopper";
    if (splits_ > 1) return tensor_ ? "tensor cores, keys split" : "keys split";
    return tensor_ ? "tensor cores" : "simple";
  }

  void run(const Call& call) override {
    if (p_.batch * p_.heads * p_.queries == 0) return;
    char* scratch = static_cast<char*>(call.scratch);
    Operands a = read_operands(p_, call, scratch);
    a.out = call.out[0];
    a.max = call.output<float>(1);
    a.sum = call.output<float>(2);
    a.fold = fold_;
    a.splits = splits_;
    a.partial = reinterpret_cast<float*>(scratch + aligned(state_bytes(p_)));
    if (hopper_) return hopper_forward(a, p_.dtype, scratch);
    if (tensor_) a.spoilt = reinterpret_cast<uint8_t*>(scratch + aligned(state_bytes(p_)) + partial_bytes());
    switch (p_.dtype) {
      case DType::float32:
        return run_as<float>(a);
      case DType::bfloat16:
        return run_as<__nv_bfloat16>(a);
      default:
        return run_as<__half>(a);
    }
  }

 private:
  static constexpr int64_t kSplitTiles = 4, kMaxSplits = 128;

  int64_t blocks() const { return (fold_ * p_.queries + kTile - 1) / kTile * p_.batch * p_.heads / fold_; }
  size_t partial_bytes() const {
    return splits_ > 1 ? splits_ * p_.batch * p_.heads * p_.queries * (p_.value_depth + 2) * sizeof(float) : 0;
  }

  template <class T>
  void run_as(const Operands& a) const {
    if (tensor_) tensor_forward(a, p_.dtype);
    allow_shared(simple_attention<T>, sizeof(SimpleMemory));
    launch("attention", simple_attention<T>,
           {dim3(forward_blocks(a, kTile)), dim3(kSimpleThreads), sizeof(SimpleMemory)}, a);
    if (a.splits == 1) return;
    const int64_t blocks = (a.rows() * 32 + kJoinThreads - 1) / kJoinThreads;
    launch("attention", join_splits<T>, {dim3(static_cast<unsigned>(blocks)), dim3(kJoinThreads)}, a);
  }

  Problem p_;
  bool hopper_, tensor_;
  int fold_ = 1, splits_ = 1;
};

std::unique_ptr<Kernel> prepare_attention(const Node& node, std::string* why) {
  Problem problem;
  if (!read_problem(node, te::attention::kForwardOperands, &problem, why)) return nullptr;
  return std::make_unique<Attention>(problem);
}

TE_CUDA_KERNEL(attention, prepare_attention);

}  // namespace
}  // namespace te::cuda::attention
