// Sums of all elements of float32 tensors, and of the squares of many tensors in two launches: joined_square_sum(x, …)
// is reduce_sum(x * x), … to the bit, whatever the dtype of x, because both add up in the one order that is here. That
// order depends on the number of elements alone: chunks, and in them eight sums for each thread.
#include "cuda/launch.h"
#include "cuda/octet.cuh"
#include "cuda/reduce.cuh"
#include "cuda/registration.h"
#include "cuda/table.cuh"

namespace te::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunk = 1 << 14;  // elements of a block

struct Summed {
  const void* x;
  float *sum, *chunks;  // chunks: a sum for each, where there are several
  int64_t size, first;  // block of the launch
  DType type;
};
using SummedTable = Table<Summed, 16>;

__device__ float sum_of_block(float x) {
  __shared__ GroupMemory memory;
  Group block(kThreads, memory);
  return block.sum(Floats<1>{{x}}).item[0];
}

// Each product is rounded before it is added, as where the products were stored.
template <bool Squares>
__device__ float term(float x) {
  return Squares ? __fmul_rn(x, x) : x;
}

template <bool Squares>
__global__ __launch_bounds__(kThreads) void sum_chunks(const __grid_constant__ SummedTable table) {
  const Summed& s = entry_of_block(table);
  const int64_t chunk = static_cast<int64_t>(blockIdx.x) - s.first, begin = chunk * kChunk;
  const int64_t end = begin + kChunk < s.size ? begin + kChunk : s.size;
  float sums[kOctet] = {};
  int64_t i = begin + static_cast<int64_t>(threadIdx.x) * kOctet;
#pragma unroll 2
  for (; i + kOctet <= end; i += kThreads * kOctet) {
    float x[kOctet];
    decode_octet(s.type, load_octet(s.type, s.x, i), x);
#pragma unroll
    for (int k = 0; k < kOctet; ++k) sums[k] = __fadd_rn(sums[k], term<Squares>(x[k]));
  }
  // The thread whose octet is not whole has the last elements.
#pragma unroll
  for (int k = 0; k < kOctet; ++k)
    if (i + k < end) sums[k] = __fadd_rn(sums[k], term<Squares>(load_real(s.type, s.x, i + k)));
  const float all =
      sum_of_block(((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7])));
  if (threadIdx.x > 0) return;
  if (s.size <= kChunk)
    *s.sum = all;
  else
    s.chunks[chunk] = all;
}

// A block for each tensor of several chunks.
__global__ __launch_bounds__(kThreads) void add_chunks(const __grid_constant__ SummedTable table) {
  const Summed& s = table.entry[blockIdx.x];
  const int64_t chunks = (s.size + kChunk - 1) / kChunk;
  if (chunks < 2) return;
  float sum = 0;
  for (int64_t k = threadIdx.x; k < chunks; k += kThreads) sum += s.chunks[k];
  sum = sum_of_block(sum);
  if (threadIdx.x == 0) *s.sum = sum;
}

class WholeSums : public Kernel {
 public:
  WholeSums(const std::vector<Aval>& inputs, bool squares) : squares_(squares) {
    for (const Aval& x : inputs) {
      Summed s{};
      s.size = x.size(), s.type = x.dtype;
      sums_.push_back(s);
      if (s.size > kChunk) chunks_ += (s.size + kChunk - 1) / kChunk;
    }
  }
  size_t scratch_bytes() const override { return static_cast<size_t>(chunks_) * sizeof(float); }

  void run(const Call& call) override {
    float* chunks = static_cast<float*>(call.scratch);
    for (size_t k = 0; k < sums_.size(); ++k) {
      Summed& s = sums_[k];
      s.x = call.in[k], s.sum = static_cast<float*>(call.out[k]), s.chunks = chunks;
      if (s.size > kChunk) chunks += (s.size + kChunk - 1) / kChunk;
    }
    for_tables<SummedTable>(sums_, [&](SummedTable& table) {
      int64_t blocks = 0;
      bool several = false;
      for (int k = 0; k < table.count; ++k) {
        Summed& s = table.entry[k];
        s.first = blocks;
        blocks += s.size > kChunk ? (s.size + kChunk - 1) / kChunk : 1;
        several = several || s.size > kChunk;
      }
      launch("reduce_sum", squares_ ? sum_chunks<true> : sum_chunks<false>,
             {dim3(static_cast<unsigned>(blocks)), dim3(kThreads)}, table);
      if (several) launch("add chunks", add_chunks, {dim3(static_cast<unsigned>(table.count)), dim3(kThreads)}, table);
    });
  }

 private:
  std::vector<Summed> sums_;
  bool squares_;
  int64_t chunks_ = 0;
};

std::unique_ptr<Kernel> prepare_sum(const Node& node, std::string* why) {
  const Aval& x = node.inputs[0];
  if (x.dtype != DType::float32 || node.outputs[0].size() != 1 || node.params.integers("axes").size() != x.shape.size())
    return *why = "not a sum of a whole float32 tensor", nullptr;
  return std::make_unique<WholeSums>(node.inputs, false);
}
TE_CUDA_KERNEL(reduce_sum, prepare_sum);

std::unique_ptr<Kernel> prepare_squares(const Node& node, std::string* why) {
  for (const Aval& x : node.inputs)
    if (x.dtype > DType::float16) return *why = std::string("no sum of ") + dtype_name(x.dtype), nullptr;
  return std::make_unique<WholeSums>(node.inputs, true);
}
TE_CUDA_KERNEL(joined_square_sum, prepare_squares);

}  // namespace
}  // namespace te::cuda
