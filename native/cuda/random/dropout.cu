// dropout(x, key){rate, broadcastDims, of, start} → y = x keep / (1 - rate). Element i of the mask, whose shape is that
// of x with length 1 along broadcastDims, is kept when uniform(key)[i] < 1 - rate. Where x is a part of a tensor of
// shape `of` that begins at `start`, i counts there. A dropped element is 0 whatever x holds.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "cuda/launch.h"
#include "cuda/move/walk.cuh"
#include "cuda/registration.h"
#include "cuda/threefry.cuh"
#include "cuda/vector.cuh"
#include "plan/draw.h"

namespace te::cuda {
namespace {

constexpr int kThreads = 256;

// The float32 in [0, 1) that JAX makes of 32 random bits.
__device__ inline float uniform(uint32_t bits) { return __uint_as_float(bits >> 9 | 0x3F800000u) - 1.0f; }

// A thread makes 16 bytes. The walk leads from elements of x to those of the mask. x and y may be the same memory.
template <class T, class Index>
__global__ void __launch_bounds__(kThreads) drop(const T* x, const uint32_t* key, T* y, Index total, const Walk mask,
                                                 int64_t counter, float keep, float scale) {
  constexpr int kWidth = kWidest<T>;
  const Index first = (static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x) * kWidth;
  if (first >= total) return;
  const int count = left_of(total, first);
  Vector<T, kWidth> values = load_part<T, kWidth>(x + first, count);
  const uint32_t k0 = key[0], k1 = key[1];
  Cursor<Index> cursor(mask, first);
#pragma unroll
  for (int j = 0; j < kWidth; ++j) {
    const bool kept = uniform(threefry_bits(k0, k1, static_cast<uint64_t>(counter + cursor.out))) < keep;
    values.at[j] = static_cast<T>(kept ? static_cast<float>(values.at[j]) * scale : 0.0f);
    cursor.next(mask);
  }
  store_part(values, y + first, count);
}

class Dropout : public Kernel {
 public:
  Dropout(const Aval& x, double rate, const Draw& draw)
      : dtype_(x.dtype),
        total_(x.size()),
        counter_(draw.first),
        keep_(static_cast<float>(1.0 - rate)),
        scale_(keep_ > 0 ? static_cast<float>(1.0 / (1.0 - rate)) : 0.0f) {
    if (total_ > 0) mask_ = Walk(merged_axes(x.shape, strides_of(x.shape), draw.strides));
  }

  void run(const Call& call) override {
    if (total_ == 0) return;
    const bool small = total_ < (int64_t{1} << 31) - (1 << 16);
    small ? drop_as<uint32_t>(call) : drop_as<int64_t>(call);
  }

 private:
  template <class Index>
  void drop_as(const Call& call) const {
    dtype_ == DType::float32    ? drop_of<float, Index>(call)
    : dtype_ == DType::bfloat16 ? drop_of<__nv_bfloat16, Index>(call)
                                : drop_of<__half, Index>(call);
  }
  template <class T, class Index>
  void drop_of(const Call& call) const {
    const int64_t per_block = kThreads * 16 / static_cast<int64_t>(sizeof(T));
    launch("dropout", drop<T, Index>,
           {dim3(static_cast<unsigned>((total_ + per_block - 1) / per_block)), dim3(kThreads)}, call.input<T>(0),
           call.input<uint32_t>(1), call.output<T>(0), static_cast<Index>(total_), mask_, counter_, keep_, scale_);
  }

  DType dtype_;
  int64_t total_, counter_;
  float keep_, scale_;
  Walk mask_;
};

std::unique_ptr<Kernel> prepare_dropout(const Node& node, std::string* why) {
  const auto decline = [why](const std::string& text) {
    *why = text;
    return nullptr;
  };
  if (!node.params.only({"rate", "broadcastDims", "of", "start"}, why)) return nullptr;
  const Aval& x = node.inputs[0];
  if (x.dtype > DType::float16 || x.dtype != node.outputs[0].dtype)
    return decline(std::string("no dropout of ") + dtype_name(x.dtype));
  if (node.inputs[1].dtype != DType::uint32 || node.inputs[1].size() != 2) return decline("key must be uint32[2]");
  const double rate = node.params.number("rate", 0.5);
  if (!(rate >= 0 && rate <= 1)) return decline("rate must lie in [0, 1]");
  Draw draw;
  if (!read_shared_draw(x.shape, node.params.integers("of"), node.params.integers("start"),
                        node.params.integers("broadcastDims"), &draw, why))
    return nullptr;
  return std::make_unique<Dropout>(x, rate, draw);
}
TE_CUDA_KERNEL(dropout, prepare_dropout);

}  // namespace
}  // namespace te::cuda
