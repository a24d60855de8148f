// fill(){value, shape, dtype} → y, one value everywhere; iota(){shape, dtype, axis} → y, the index along an axis.
#include "cuda/launch.h"
#include "cuda/move/element.h"
#include "cuda/move/walk.cuh"
#include "cuda/registration.h"
#include "cuda/values.cuh"
#include "cuda/vector.cuh"
#include "plan/axis.h"

namespace te::cuda {
namespace {

constexpr int kThreads = 256, kPerThread = 4;  // 16 bytes at a time

__global__ void __launch_bounds__(kThreads) fill_chunks(unsigned char* y, int64_t bytes, const Pattern pattern) {
  const int64_t first = static_cast<int64_t>(blockIdx.x) * (kThreads * kPerThread) + threadIdx.x;
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const int64_t at = (first + j * kThreads) * 16;
    if (at + 16 <= bytes) {
      *reinterpret_cast<uint4*>(y + at) = *reinterpret_cast<const uint4*>(pattern.bytes);
    } else {
      for (int64_t i = at; i < bytes; ++i) y[i] = pattern.bytes[i - at];
    }
  }
}

class Fill : public Kernel {
 public:
  Fill(const Aval& y, double value) : bytes_(static_cast<int64_t>(y.bytes())), pattern_(y.dtype, value) {}
  void run(const Call& call) override {
    if (bytes_ == 0) return;
    const int64_t blocks = (bytes_ + kThreads * kPerThread * 16 - 1) / (kThreads * kPerThread * 16);
    launch("fill", fill_chunks, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads)}, call.output<unsigned char>(0),
           bytes_, pattern_);
  }

 private:
  int64_t bytes_;
  Pattern pattern_;
};

std::unique_ptr<Kernel> prepare_fill(const Node& node, std::string* why) {
  if (!node.params.only({"value", "shape", "dtype"}, why)) return nullptr;
  return std::make_unique<Fill>(node.outputs[0], node.params.number("value"));
}

// Element i is the number i / inner % length. A thread writes 16 bytes.
template <class Word>
__global__ void __launch_bounds__(kThreads)
    count_up(Word* y, DType dtype, int64_t total, int64_t inner, int64_t length) {
  constexpr int kWords = kWidest<Word>;
  const int64_t first = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * kWords;
  if (first >= total) return;
  int64_t within = first % inner, at = first / inner % length;
  Vector<Word, kWords> held;
#pragma unroll
  for (int j = 0; j < kWords; ++j) {
    if (is_real(dtype))
      store_real(dtype, held.at, j, static_cast<float>(at));
    else if (dtype == DType::float8_e8m0fnu)
      held.at[j] = static_cast<Word>(power_of_two(static_cast<float>(at)));
    else if (dtype == DType::boolean)
      held.at[j] = static_cast<Word>(at != 0);
    else
      held.at[j] = static_cast<Word>(at);
    if (++within < inner) continue;
    within = 0;
    if (++at == length) at = 0;
  }
  store_part(held, y + first, left_of(total, first));
}

class Iota : public Kernel {
 public:
  Iota(const Aval& y, const AroundAxis& around) : dtype_(y.dtype), total_(y.size()), around_(around) {}
  void run(const Call& call) override {
    if (total_ == 0) return;
    switch (dtype_bytes(dtype_)) {
      case 1:
        return count<uint8_t>(call);
      case 2:
        return count<uint16_t>(call);
      default:
        return count<uint32_t>(call);
    }
  }

 private:
  template <class Word>
  void count(const Call& call) const {
    const int64_t per_block = kThreads * 16 / static_cast<int64_t>(sizeof(Word));
    launch("iota", count_up<Word>, {dim3(static_cast<unsigned>((total_ + per_block - 1) / per_block)), dim3(kThreads)},
           call.output<Word>(0), dtype_, total_, around_.inner, around_.length);
  }

  DType dtype_;
  int64_t total_;
  AroundAxis around_;
};

std::unique_ptr<Kernel> prepare_iota(const Node& node, std::string* why) {
  if (!node.params.only({"shape", "dtype", "axis"}, why)) return nullptr;
  const Aval& y = node.outputs[0];
  if (y.dtype == DType::float64) {
    *why = "numbers of float64";
    return nullptr;
  }
  AroundAxis around;
  if (!around_axis(y.shape, node.params.integer("axis"), &around, why)) return nullptr;
  return std::make_unique<Iota>(y, around);
}

TE_CUDA_KERNEL(fill, prepare_fill);
TE_CUDA_KERNEL(iota, prepare_iota);

}  // namespace
}  // namespace te::cuda
