// D = rowsum(dout out) - dlse for the gradients of attention: the mean of the weights' gradients under the weights.
// Sums run number after number, as those of simple.cuh: a query that sees one key gets D = dp to the bit, and no
// gradient.
#include "cuda/attention/gradient.h"
#include "cuda/attention/operands.cuh"
#include "cuda/launch.h"

namespace te::cuda::attention {
namespace {

using te::attention::Problem;

constexpr int kWarps = 4;

// A warp takes 32 rows, 32 columns at a time.
template <class T>
__global__ void __launch_bounds__(kWarps * 32)
    mean_of_gradients(const __grid_constant__ Operands a, const T* __restrict__ out, const float* __restrict__ dlse) {
  __shared__ float tiles[kWarps][2][32][33];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  auto& tile = tiles[warp];
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kWarps + warp) * 32;
  const T* dout = static_cast<const T*>(a.dout);
  float sum = 0;
  for (int column = 0; column < a.value_depth; column += 32) {
    __syncwarp();
    for (int r = 0; r < 32 && first + r < a.rows(); ++r) {
      const int64_t head = (first + r) / a.queries;
      const int64_t at = a.out_rows.at(head / a.heads, (first + r) % a.queries, head % a.heads) + column + lane;
      const bool inside = column + lane < a.value_depth;
      tile[0][r][lane] = inside ? static_cast<float>(dout[at]) : 0.0f;
      tile[1][r][lane] = inside ? static_cast<float>(out[at]) : 0.0f;
    }
    __syncwarp();
    if (first + lane >= a.rows()) continue;
#pragma unroll
    for (int c = 0; c < 32; ++c) sum = fmaf(tile[0][lane][c], tile[1][lane][c], sum);
  }
  if (first + lane < a.rows()) a.mean[first + lane] = sum - (dlse ? dlse[first + lane] : 0.0f);
}

template <class T>
void queue(const Operands& a, const void* out, const float* dlse) {
  const int64_t blocks = (a.rows() + kWarps * 32 - 1) / (kWarps * 32);
  launch("attention_backward", mean_of_gradients<T>, {dim3(static_cast<unsigned>(blocks)), dim3(kWarps * 32)}, a,
         static_cast<const T*>(out), dlse);
}

}  // namespace

size_t gradient_bytes(const Problem& p) {
  return aligned(state_bytes(p)) + aligned(static_cast<size_t>(p.batch * p.heads * p.queries) * sizeof(float));
}

Operands read_gradient(const Problem& p, const Call& call, void* scratch) {
  Operands a = read_operands(p, call, scratch);
  const auto& at = p.operands;
  a.dout = call.in[at.dout];
  // Kernels read statistics here and write them in the forward op.
  a.max = const_cast<float*>(call.input<float>(at.max));
  a.sum = const_cast<float*>(call.input<float>(at.sum));
  a.mean = reinterpret_cast<float*>(static_cast<char*>(scratch) + aligned(state_bytes(p)));
  const float* dlse = p.has_dlse ? call.input<float>(at.dlse) : nullptr;
  if (a.rows() == 0) return a;
  const void* out = call.in[at.out];
  if (p.dtype == DType::float32)
    queue<float>(a, out, dlse);
  else if (p.dtype == DType::bfloat16)
    queue<__nv_bfloat16>(a, out, dlse);
  else
    queue<__half>(a, out, dlse);
  return a;
}

}  // namespace te::cuda::attention
