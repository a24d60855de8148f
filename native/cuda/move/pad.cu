// pad(x){low, high, value} → y: every word of y is read from x or is the value.
#include <numeric>

#include "cuda/launch.h"
#include "cuda/move/element.h"
#include "cuda/move/walk.cuh"
#include "cuda/registration.h"
#include "plan/moves.h"

namespace te::cuda {
namespace {

constexpr int kThreads = 256, kPerThread = 4;

struct PaddedAxis {
  int64_t size, low, inside;  // of y; before x; of x
};

// The axes of y, outermost first, and the strides of x.
struct Frame {
  struct Axis {
    Divisor size;
    int64_t low, inside, stride;
  };

  // Where word i of y comes from; -1: from nowhere.
  template <class Index>
  __device__ int64_t source(Index i) const {
    int64_t from = 0;
    bool is_inside = true;
    for (int d = rank - 1; d >= 0; --d) {
      const int64_t at = static_cast<int64_t>(d > 0 ? axis[d].size.split(&i) : i) - axis[d].low;
      is_inside = is_inside && at >= 0 && at < axis[d].inside;
      from += at * axis[d].stride;
    }
    return is_inside ? from : -1;
  }

  int rank = 0;
  Axis axis[kMaxAxes];
};

template <class Word, class Index>
__global__ void __launch_bounds__(kThreads)
    pad_words(const Word* x, Word* y, Index total, const Frame frame, const Pattern pattern) {
  const Index first = static_cast<Index>(blockIdx.x) * (kThreads * kPerThread) + threadIdx.x;
  Word held[kPerThread];
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const Index i = first + j * kThreads;
    if (i >= total) break;
    const int64_t from = frame.source(i);
    held[j] = from < 0 ? *reinterpret_cast<const Word*>(pattern.bytes) : x[from];
  }
#pragma unroll
  for (int j = 0; j < kPerThread; ++j)
    if (first + j * kThreads < total) y[first + j * kThreads] = held[j];
}

class Pad : public Kernel {
 public:
  Pad(const Node& node, std::vector<PaddedAxis> axes)
      : word_(dtype_bytes(node.outputs[0].dtype)),
        total_(node.outputs[0].size()),
        pattern_(node.outputs[0].dtype, node.params.number("value")) {
    widen(&axes.back());
    int64_t stride = 1;
    frame_.rank = static_cast<int>(axes.size());
    if (frame_.rank > kMaxAxes) throw Error("memory", "an array of more elements than memory can hold");
    for (size_t d = axes.size(); d-- > 0; stride *= axes[d].inside)
      frame_.axis[d] = {Divisor(axes[d].size), axes[d].low, axes[d].inside, stride};
  }

  void run(const Call& call) override {
    if (total_ == 0) return;
    const bool small = total_ < (int64_t{1} << 31) - (1 << 16);
    small ? pad<uint32_t>(call) : pad<int64_t>(call);
  }

 private:
  void widen(PaddedAxis* inner) {
    const int64_t common = std::gcd(std::gcd(inner->low, inner->inside), inner->size);
    for (int64_t wide = 1; word_ < 16 && common % (2 * wide) == 0; wide *= 2) {
      inner->size /= 2, inner->low /= 2, inner->inside /= 2;
      word_ *= 2;
      total_ /= 2;
    }
  }
  template <class Index>
  void pad(const Call& call) const {
    word_ == 16  ? pad_of<uint4, Index>(call)
    : word_ == 8 ? pad_of<uint2, Index>(call)
    : word_ == 4 ? pad_of<uint32_t, Index>(call)
    : word_ == 2 ? pad_of<uint16_t, Index>(call)
                 : pad_of<uint8_t, Index>(call);
  }
  template <class Word, class Index>
  void pad_of(const Call& call) const {
    const int64_t per_block = kThreads * kPerThread;
    launch("pad", pad_words<Word, Index>,
           {dim3(static_cast<unsigned>((total_ + per_block - 1) / per_block)), dim3(kThreads)}, call.input<Word>(0),
           call.output<Word>(0), static_cast<Index>(total_), frame_, pattern_);
  }

  size_t word_;
  int64_t total_;
  Pattern pattern_;
  Frame frame_;
};

std::unique_ptr<Kernel> prepare_pad(const Node& node, std::string* why) {
  StridedMove move;
  if (!read_pad(node, &move, why)) return nullptr;
  const Shape &x = node.inputs[0].shape, &y = node.outputs[0].shape;
  const std::vector<int64_t> low = node.params.integers("low");
  std::vector<PaddedAxis> axes;
  for (size_t i = 0; i < y.size(); ++i) {
    if (y[i] == 1 && x[i] == 1) continue;
    if (!axes.empty() && y[i] == x[i])  // nothing is padded: goes with the axis before
      axes.back() = {axes.back().size * y[i], axes.back().low * y[i], axes.back().inside * y[i]};
    else
      axes.push_back({y[i], low[i], x[i]});
  }
  if (axes.empty()) axes.push_back({1, 0, 1});
  return std::make_unique<Pad>(node, std::move(axes));
}

TE_CUDA_KERNEL(pad, prepare_pad);

}  // namespace
}  // namespace te::cuda
