// random_bits(key){shape, width, of, start}, random_split(key){count} and random_fold_in(key, data): JAX's bits.
#include "cuda/launch.h"
#include "cuda/move/walk.cuh"
#include "cuda/registration.h"
#include "cuda/threefry.cuh"
#include "cuda/vector.cuh"
#include "plan/random.h"

namespace te::cuda {
namespace {

constexpr int kThreads = 256;

// A thread makes 16 bytes. Word: what an element is stored in. The walk leads from elements of y to those of the draw.
template <class Word, class Index>
__global__ void __launch_bounds__(kThreads)
    draw_bits(const uint32_t* key, Word* y, Index total, const Walk walk, int64_t counter, uint32_t mask) {
  constexpr int kWords = kWidest<Word>;
  const Index first = (static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x) * kWords;
  if (first >= total) return;
  const uint32_t k0 = key[0], k1 = key[1];
  Vector<Word, kWords> drawn;
  Cursor<Index> cursor(walk, first);
#pragma unroll
  for (int j = 0; j < kWords; ++j) {
    drawn.at[j] = static_cast<Word>(threefry_bits(k0, k1, static_cast<uint64_t>(counter + cursor.out)) & mask);
    cursor.next(walk);
  }
  store_part(drawn, y + first, left_of(total, first));
}

class RandomBits : public Kernel {
 public:
  RandomBits(const Aval& y, const Draw& draw, int64_t width) : size_(y.size()), counter_(draw.first), width_(width) {
    if (size_ > 0) walk_ = Walk(merged_axes(y.shape, strides_of(y.shape), draw.strides));
  }
  void run(const Call& call) override {
    if (size_ == 0) return;
    const bool small = size_ < (int64_t{1} << 31) - (1 << 16);
    small ? draw_as<uint32_t>(call) : draw_as<int64_t>(call);
  }

 private:
  template <class Index>
  void draw_as(const Call& call) const {
    width_ == 8 ? draw<uint8_t, Index>(call) : draw<uint32_t, Index>(call);
  }
  template <class Word, class Index>
  void draw(const Call& call) const {
    const int64_t per_block = kThreads * 16 / static_cast<int64_t>(sizeof(Word));
    const uint32_t mask = width_ == 32 ? ~0u : (1u << width_) - 1;
    launch("random_bits", draw_bits<Word, Index>,
           {dim3(static_cast<unsigned>((size_ + per_block - 1) / per_block)), dim3(kThreads)}, call.input<uint32_t>(0),
           call.output<Word>(0), static_cast<Index>(size_), walk_, counter_, mask);
  }

  int64_t size_, counter_, width_;
  Walk walk_;
};

std::unique_ptr<Kernel> prepare_bits(const Node& node, std::string* why) {
  int64_t width;
  Draw draw;
  if (!read_random_bits(node, &width, &draw, why)) return nullptr;
  return std::make_unique<RandomBits>(node.outputs[0], draw, width);
}

// Both words of each counter: i, or the one that is given.
__global__ void __launch_bounds__(kThreads)
    draw_keys(const uint32_t* key, const uint32_t* counter, uint2* y, int64_t count) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= count) return;
  const ThreefryWords words = threefry(key[0], key[1], counter ? *counter : static_cast<uint64_t>(i));
  y[i] = uint2{words.first, words.second};
}

class RandomSplit : public Kernel {
 public:
  explicit RandomSplit(int64_t count) : count_(count) {}
  void run(const Call& call) override {
    if (count_ == 0) return;
    launch("random_split", draw_keys, {dim3(static_cast<unsigned>((count_ + kThreads - 1) / kThreads)), dim3(kThreads)},
           call.input<uint32_t>(0), nullptr, call.output<uint2>(0), count_);
  }

 private:
  int64_t count_;
};

std::unique_ptr<Kernel> prepare_split(const Node& node, std::string* why) {
  if (!read_random_split(node, why)) return nullptr;
  return std::make_unique<RandomSplit>(node.outputs[0].size() / 2);
}

class RandomFoldIn : public Kernel {
 public:
  void run(const Call& call) override {
    launch("random_fold_in", draw_keys, {dim3(1), dim3(32)}, call.input<uint32_t>(0), call.input<uint32_t>(1),
           call.output<uint2>(0), int64_t{1});
  }
};

std::unique_ptr<Kernel> prepare_fold_in(const Node& node, std::string* why) {
  if (!read_random_fold_in(node, why)) return nullptr;
  return std::make_unique<RandomFoldIn>();
}

TE_CUDA_KERNEL(random_bits, prepare_bits);
TE_CUDA_KERNEL(random_split, prepare_split);
TE_CUDA_KERNEL(random_fold_in, prepare_fold_in);

}  // namespace
}  // namespace te::cuda
