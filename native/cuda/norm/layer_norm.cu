// layer_norm(x, gamma, beta) → (y, mean, rstd) and rms_norm(x, gamma) → (y, rstd), forward, float32 and bfloat16.
//
//   mean = Σ x / n          rstd = 1 / sqrt(Σ (x - mean)² / n + epsilon)        y = (x - mean) rstd gamma + beta
//
// rms_norm has mean = 0 and no beta; zeroCenteredGamma uses gamma + 1. One block per row; the row stays in registers
// between the two reductions, so that memory is read once and written once.
#include <cuda_bf16.h>

#include <algorithm>

#include "cuda/launch.h"
#include "cuda/reduce.cuh"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

template <class T>
__device__ float to_float(T x) {
  return static_cast<float>(x);
}
template <class T>
__device__ T from_float(float x);
template <>
__device__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// Width elements that move as one.
template <class T, int Width>
struct alignas(sizeof(T) * Width) Pack {
  T item[Width];
};

struct Norm {
  int columns;
  float epsilon;
  float gamma_offset;
  bool centred;  // layer_norm, else rms_norm
};

// Packs: how many packs of a row each thread holds.
template <class T, class G, int Width, int Packs>
__global__ void norm_rows(const T* __restrict__ x, const G* __restrict__ gamma, const G* __restrict__ beta,
                          T* __restrict__ y, float* __restrict__ mean_out, float* __restrict__ rstd_out, Norm norm) {
  __shared__ float shared[32];
  const size_t start = static_cast<size_t>(blockIdx.x) * norm.columns;
  float row[Packs][Width];
  float sum = 0;
#pragma unroll
  for (int p = 0; p < Packs; ++p) {
    const int column = (p * blockDim.x + threadIdx.x) * Width;
    const bool inside = column < norm.columns;
    Pack<T, Width> pack{};
    if (inside) pack = *reinterpret_cast<const Pack<T, Width>*>(x + start + column);
#pragma unroll
    for (int i = 0; i < Width; ++i) {
      row[p][i] = inside ? to_float(pack.item[i]) : 0.0f;
      sum += row[p][i];
    }
  }
  const float mean = norm.centred ? block_sum(sum, shared) / norm.columns : 0.0f;
  float squares = 0;
#pragma unroll
  for (int p = 0; p < Packs; ++p) {
    const bool inside = (p * blockDim.x + threadIdx.x) * Width < norm.columns;
#pragma unroll
    for (int i = 0; i < Width; ++i) {
      const float d = row[p][i] - mean;
      squares += inside ? d * d : 0.0f;
    }
  }
  const float rstd = 1.0f / sqrtf(block_sum(squares, shared) / norm.columns + norm.epsilon);
  if (threadIdx.x == 0) {
    if (norm.centred) mean_out[blockIdx.x] = mean;
    rstd_out[blockIdx.x] = rstd;
  }
#pragma unroll
  for (int p = 0; p < Packs; ++p) {
    const int column = (p * blockDim.x + threadIdx.x) * Width;
    if (column >= norm.columns) continue;
    const auto scale = *reinterpret_cast<const Pack<G, Width>*>(gamma + column);
    Pack<G, Width> shift{};
    if (norm.centred) shift = *reinterpret_cast<const Pack<G, Width>*>(beta + column);
    Pack<T, Width> out;
#pragma unroll
    for (int i = 0; i < Width; ++i) {
      const float normal = (row[p][i] - mean) * rstd;
      out.item[i] = from_float<T>(normal * (to_float(scale.item[i]) + norm.gamma_offset) +
                                  (norm.centred ? to_float(shift.item[i]) : 0.0f));
    }
    *reinterpret_cast<Pack<T, Width>*>(y + start + column) = out;
  }
}

constexpr int kMaxThreads = 1024, kMaxPacks = 8;

template <class T, class G>
class NormKernel : public Kernel {
 public:
  NormKernel(int64_t rows, Norm norm) : rows_(rows), norm_(norm), wide_(norm.columns % kWidth == 0) {
    const int width = wide_ ? kWidth : 1;
    const int packs_of_row = (norm.columns + width - 1) / width;
    while (packs_ < kMaxPacks && packs_of_row > packs_ * 256) packs_ *= 2;  // few threads with more each, first
    threads_ = std::min(kMaxThreads, ((packs_of_row + packs_ - 1) / packs_ + 31) / 32 * 32);
  }

  static bool fits(int64_t columns) {
    return columns <= static_cast<int64_t>(kMaxThreads) * kMaxPacks * (columns % kWidth == 0 ? kWidth : 1);
  }

  void run(const Call& call) override {
    if (rows_ == 0) return;
    const int outputs = norm_.centred ? 3 : 2;
    const T* x = call.input<T>(0);
    const G* gamma = call.input<G>(1);
    const G* beta = norm_.centred ? call.input<G>(2) : nullptr;
    T* y = call.output<T>(0);
    float* mean = norm_.centred ? call.output<float>(1) : nullptr;
    float* rstd = call.output<float>(outputs - 1);
    if (wide_)
      launch<kWidth>(x, gamma, beta, y, mean, rstd);
    else
      launch<1>(x, gamma, beta, y, mean, rstd);
  }

 private:
  static constexpr int kWidth = 16 / std::max(sizeof(T), sizeof(G));

  template <int Width>
  void launch(const T* x, const G* gamma, const G* beta, T* y, float* mean, float* rstd) const {
    const dim3 grid(static_cast<unsigned>(rows_)), block(static_cast<unsigned>(threads_));
    switch (packs_) {
      case 1:
        te::cuda::launch("layer_norm", norm_rows<T, G, Width, 1>, {grid, block}, x, gamma, beta, y, mean, rstd, norm_);
        break;
      case 2:
        te::cuda::launch("layer_norm", norm_rows<T, G, Width, 2>, {grid, block}, x, gamma, beta, y, mean, rstd, norm_);
        break;
      case 4:
        te::cuda::launch("layer_norm", norm_rows<T, G, Width, 4>, {grid, block}, x, gamma, beta, y, mean, rstd, norm_);
        break;
      default:
        te::cuda::launch("layer_norm", norm_rows<T, G, Width, 8>, {grid, block}, x, gamma, beta, y, mean, rstd, norm_);
    }
  }

  int64_t rows_;
  Norm norm_;
  bool wide_;
  int packs_ = 1, threads_ = 32;
};

template <class T, class G>
std::unique_ptr<Kernel> make(int64_t rows, const Norm& norm, std::string* why) {
  if (NormKernel<T, G>::fits(norm.columns)) return std::make_unique<NormKernel<T, G>>(rows, norm);
  *why = "rows of " + std::to_string(norm.columns) + " elements are too long";
  return nullptr;
}

std::unique_ptr<Kernel> prepare_norm(const Node& node, std::string* why) {
  const bool centred = node.op == "layer_norm";
  if (!node.params.only({"epsilon", "zeroCenteredGamma"}, why)) return nullptr;
  const Aval &x = node.inputs[0], &gamma = node.inputs[1];
  const int64_t columns = x.shape.empty() ? 0 : x.shape.back();
  const int64_t rows = columns > 0 ? x.size() / columns : 0;
  if (columns < 1 || columns > INT32_MAX || rows > INT32_MAX) {
    *why = "the size of the rows, or their number, is out of range";
    return nullptr;
  }
  if (centred && node.inputs[2].dtype != gamma.dtype) {
    *why = "gamma and beta differ in dtype";
    return nullptr;
  }
  const Norm norm{static_cast<int>(columns), static_cast<float>(node.params.number("epsilon", 1e-6)),
                  node.params.flag("zeroCenteredGamma") ? 1.0f : 0.0f, centred};
  const auto is = [&](DType dx, DType dg) { return x.dtype == dx && gamma.dtype == dg; };
  if (is(DType::float32, DType::float32)) return make<float, float>(rows, norm, why);
  if (is(DType::bfloat16, DType::float32)) return make<__nv_bfloat16, float>(rows, norm, why);
  if (is(DType::bfloat16, DType::bfloat16)) return make<__nv_bfloat16, __nv_bfloat16>(rows, norm, why);
  *why = std::string("no kernel for x ") + dtype_name(x.dtype) + " with gamma " + dtype_name(gamma.dtype);
  return nullptr;
}

TE_CUDA_KERNEL(layer_norm, prepare_norm);
TE_CUDA_KERNEL(rms_norm, prepare_norm);

}  // namespace
}  // namespace te::cuda
