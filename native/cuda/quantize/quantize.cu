// quantize(x, scale){dtype} → q = float8(clip(float32(x) * scale)), amax = max |x|, in one pass over x.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/quantize/float8.cuh"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kPacks = 4;  // of a thread, under way together

// 16 bytes of T.
template <class T>
struct alignas(16) Pack {
  static constexpr int kSize = 16 / sizeof(T);
  T item[kSize];
};

template <class T, DType Q>
__device__ uint32_t quantize_pack(const Pack<T>& pack, float scale, uint8_t* q, uint32_t most) {
  uint32_t words[Pack<T>::kSize / 4];
#pragma unroll
  for (int w = 0; w < Pack<T>::kSize / 4; ++w) {
    float x[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      x[k] = static_cast<float>(pack.item[4 * w + k]);
      most = larger_magnitude(most, x[k]);
    }
    words[w] = float8_codes<Q>(x[0] * scale, x[1] * scale, x[2] * scale, x[3] * scale);
  }
  if constexpr (Pack<T>::kSize == 4)
    *reinterpret_cast<uint32_t*>(q) = words[0];
  else
    *reinterpret_cast<uint2*>(q) = uint2{words[0], words[1]};
  return most;
}

template <class T, DType Q>
__global__ __launch_bounds__(kThreads) void quantize_all(const T* __restrict__ x, const float* __restrict__ scale_at,
                                                         uint8_t* __restrict__ q, int64_t n, Gathering* blocks,
                                                         float* amax) {
  constexpr int kSize = Pack<T>::kSize;
  const float scale = *scale_at;
  const int64_t packs = n / kSize, step = static_cast<int64_t>(gridDim.x) * (kThreads * kPacks);
  const Pack<T>* from = reinterpret_cast<const Pack<T>*>(x);
  uint32_t most = 0;
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads * kPacks) + threadIdx.x; first < packs;
       first += step) {
    Pack<T> held[kPacks];
#pragma unroll
    for (int k = 0; k < kPacks; ++k)
      if (first + k * kThreads < packs) held[k] = from[first + k * kThreads];
#pragma unroll
    for (int k = 0; k < kPacks; ++k)
      if (first + k * kThreads < packs)
        most = quantize_pack<T, Q>(held[k], scale, q + (first + k * kThreads) * kSize, most);
  }
  const int64_t rest = packs * kSize + threadIdx.x;  // fewer than a pack
  if (blockIdx.x == 0 && rest < n) {
    const float value = static_cast<float>(x[rest]);
    most = larger_magnitude(most, value);
    q[rest] = float8_code<Q>(value * scale);
  }
  gather_maximum(most, blocks, amax);
}

template <class T, DType Q>
class Quantize : public Kernel {
 public:
  explicit Quantize(int64_t size) : size_(size) {
    const int64_t per_block = static_cast<int64_t>(kThreads) * kPacks * Pack<T>::kSize;
    const int64_t most = context().properties.multiProcessorCount * 8;
    blocks_ = static_cast<unsigned>(std::clamp<int64_t>((size + per_block - 1) / per_block, 1, most));
  }
  void run(const Call& call) override {
    launch("quantize", quantize_all<T, Q>, {dim3(blocks_), dim3(kThreads)}, call.input<T>(0), call.input<float>(1),
           call.output<uint8_t>(0), size_, context().gathering, call.output<float>(1));
  }

 private:
  int64_t size_;
  unsigned blocks_;
};

template <class T>
std::unique_ptr<Kernel> make(DType q, int64_t size) {
  if (q == DType::float8_e4m3fn) return std::make_unique<Quantize<T, DType::float8_e4m3fn>>(size);
  return std::make_unique<Quantize<T, DType::float8_e5m2>>(size);
}

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  if (!node.params.only({"dtype"}, why)) return nullptr;
  const Aval& x = node.inputs[0];
  const DType q = node.outputs[0].dtype;
  if (q != DType::float8_e4m3fn && q != DType::float8_e5m2)
    return *why = "q must be float8_e4m3fn or float8_e5m2", nullptr;
  switch (x.dtype) {
    case DType::float32:
      return make<float>(q, x.size());
    case DType::bfloat16:
      return make<__nv_bfloat16>(q, x.size());
    case DType::float16:
      return make<__half>(q, x.size());
    default:
      return *why = std::string("x of dtype ") + dtype_name(x.dtype), nullptr;
  }
}
TE_CUDA_KERNEL(quantize, prepare);

}  // namespace
}  // namespace te::cuda
