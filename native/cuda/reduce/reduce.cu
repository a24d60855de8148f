// reduce_sum, reduce_max, reduce_min, reduce_prod over any axes: a block for each element of the result.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/reduce.cuh"
#include "cuda/registration.h"
#include "cuda/values.cuh"

namespace te::cuda {
namespace {

enum class Fold { sum, max, min, prod };
template <class T>
__device__ T fold(Fold f, T a, T b) {
  switch (f) {
    case Fold::sum:
      return a + b;
    case Fold::prod:
      return a * b;
    case Fold::max:
      return a > b || a != a ? a : b;
    default:
      return a < b || a != a ? a : b;
  }
}
template <class T>
__global__ void reduce_all(const void* x, void* y, DType t, Fold f, T start, int64_t inner_count, Strided outer,
                           Strided inner) {
  __shared__ T part[128];
  const int64_t base = outer(blockIdx.x);
  T value = start;
  for (int64_t k = threadIdx.x; k < inner_count; k += blockDim.x) {
    const int64_t at = base + inner(k);
    if constexpr (std::is_same_v<T, float>)
      value = fold(f, value, load_real(t, x, at));
    else
      value = fold(f, value, static_cast<T>(load_bits(t, x, at)));
  }
  part[threadIdx.x] = value;
  __syncthreads();
  for (int n = 64; n > 0; n /= 2) {
    if (threadIdx.x < n) part[threadIdx.x] = fold(f, part[threadIdx.x], part[threadIdx.x + n]);
    __syncthreads();
  }
  if (threadIdx.x > 0) return;
  if constexpr (std::is_same_v<T, float>)
    store_real(t, y, blockIdx.x, part[0]);
  else
    store_bits(t, y, blockIdx.x, static_cast<uint32_t>(part[0]));
}

class Reduce : public Kernel {
 public:
  Reduce(const Node& node) : x_(node.inputs[0]), y_(node.outputs[0]) {
    fold_ = node.op == "reduce_sum"   ? Fold::sum
            : node.op == "reduce_max" ? Fold::max
            : node.op == "reduce_min" ? Fold::min
                                      : Fold::prod;
    std::vector<bool> gone(x_.shape.size(), false);
    for (int64_t axis : node.params.integers("axes"))
      gone[static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(gone.size()) : axis)] = true;
    int64_t step = x_.size();
    for (size_t d = 0; d < gone.size(); ++d) {
      if (x_.shape[d] == 0) {
        count_ = 0;
        continue;
      }
      step /= x_.shape[d];
      Strided& s = gone[d] ? inner_ : outer_;
      s.size[s.rank] = x_.shape[d], s.stride[s.rank++] = step;
      if (gone[d]) count_ *= x_.shape[d];
    }
  }
  void run(const Call& call) override {
    if (y_.size() == 0) return;
    const Launch shape{dim3(static_cast<unsigned>(y_.size())), dim3(128)};
    const bool real = x_.dtype <= DType::float8_e5m2;
    const float start = fold_ == Fold::sum ? 0 : fold_ == Fold::prod ? 1 : fold_ == Fold::max ? -INFINITY : INFINITY;
    const int32_t istart = fold_ == Fold::sum    ? 0
                           : fold_ == Fold::prod ? 1
                           : fold_ == Fold::max  ? INT32_MIN
                                                 : INT32_MAX;
    const uint32_t ustart = fold_ == Fold::sum ? 0 : fold_ == Fold::prod ? 1 : fold_ == Fold::max ? 0 : UINT32_MAX;
    if (real)
      launch("reduce", reduce_all<float>, shape, call.in[0], call.out[0], x_.dtype, fold_, start, count_, outer_,
             inner_);
    else if (x_.dtype == DType::int32)
      launch("reduce", reduce_all<int32_t>, shape, call.in[0], call.out[0], x_.dtype, fold_, istart, count_, outer_,
             inner_);
    else
      launch("reduce", reduce_all<uint32_t>, shape, call.in[0], call.out[0], x_.dtype, fold_, ustart, count_, outer_,
             inner_);
  }

 private:
  Aval x_, y_;
  Fold fold_;
  Strided outer_, inner_;
  int64_t count_ = 1;
};
std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  const Aval& x = node.inputs[0];
  if (x.shape.size() > kMaxRank) return *why = "rank", nullptr;
  if (node.op == "reduce_sum" && x.dtype == DType::float32 && node.params.integers("axes").size() == x.shape.size())
    return *why = "square_sum.cu adds up whole tensors", nullptr;
  return std::make_unique<Reduce>(node);
}
TE_CUDA_KERNEL(reduce_sum, prepare);
TE_CUDA_KERNEL(reduce_max, prepare);
TE_CUDA_KERNEL(reduce_min, prepare);
TE_CUDA_KERNEL(reduce_prod, prepare);

}  // namespace
}  // namespace te::cuda
