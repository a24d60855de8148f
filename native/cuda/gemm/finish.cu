// Adds the bias and rounds, four columns at a time where rows allow it.
#include "cuda/gemm/finish.h"
#include "cuda/gemm/result.cuh"
#include "cuda/launch.h"

namespace te::cuda {
namespace {

// `Wide` columns at a time; no __restrict__: y may be the sums.
template <int Wide>
__global__ void __launch_bounds__(256) finish_sums(Finish f) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x, columns = f.n / Wide;
  if (i >= f.batches * f.m * columns) return;
  const int64_t column = i % columns * Wide, row = i / columns % f.m, batch = i / columns / f.m;
  const float* from = f.sums + (batch * f.m_from + row) * f.n_from + column;
  const int64_t to = (batch * f.m + row) * f.n + column;
  float x[Wide];
  if constexpr (Wide == 4) {
    const float4 four = *reinterpret_cast<const float4*>(from);
    x[0] = four.x, x[1] = four.y, x[2] = four.z, x[3] = four.w;
  } else {
    x[0] = *from;
  }
#pragma unroll
  for (int j = 0; j < Wide; ++j)
    if (f.bias) x[j] += load_real(f.bias_dtype, f.bias, column + j);
  if (Wide == 4 && f.dtype == DType::float32) {
    *reinterpret_cast<float4*>(static_cast<float*>(f.y) + to) =
        make_float4(x[0], x[Wide / 4], x[Wide / 2], x[Wide - 1]);
  } else if (Wide == 4 && f.dtype == DType::bfloat16) {
    auto* y = reinterpret_cast<__nv_bfloat162*>(static_cast<__nv_bfloat16*>(f.y) + to);
    y[0] = __floats2bfloat162_rn(x[0], x[Wide / 4]), y[1] = __floats2bfloat162_rn(x[Wide / 2], x[Wide - 1]);
  } else {
#pragma unroll
    for (int j = 0; j < Wide; ++j) store_real(f.dtype, f.y, to + j, x[j]);
  }
}

}  // namespace

void finish(const Finish& f) {
  const bool wide = f.n % 4 == 0 && f.n_from % 4 == 0;
  const int64_t threads = f.batches * f.m * f.n / (wide ? 4 : 1);
  if (threads == 0) return;
  const Launch shape{dim3(static_cast<unsigned>((threads + 255) / 256)), dim3(256)};
  wide ? launch("finish", finish_sums<4>, shape, f) : launch("finish", finish_sums<1>, shape, f);
}

}  // namespace te::cuda
