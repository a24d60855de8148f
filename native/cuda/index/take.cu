// take(x, indices){axis} → y and take_along_axis(x, indices){axis} → y. An index out of range is reported, and zeros
// are taken for it.
#include "cuda/index/index.h"
#include "cuda/launch.h"
#include "cuda/move/walk.cuh"
#include "cuda/registration.h"
#include "cuda/report.cuh"
#include "plan/axis.h"

namespace te::cuda {
namespace {

constexpr int kThreads = 256, kPerThread = 4;

__device__ inline bool is_index(int32_t index, int64_t length, int64_t position, const Report& to) {
  const bool good = index >= 0 && index < length;
  if (!good) report(to, position, index);
  return good;
}

__global__ void __launch_bounds__(kThreads) check_each(const int32_t* indices, int64_t n, int64_t size, Report to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i < n) is_index(indices[i], size, i, to);
}

// Words of rows: y[outer, k, word] = x[outer, indices[k], word].
struct Rows {
  Divisor width, count;  // words of a row, indices
  int64_t length;        // of the axis
};

template <class Word, class Index>
__global__ void __launch_bounds__(kThreads)
    take_rows(const Word* x, const int32_t* indices, Word* y, Index total, const Rows rows, const Report to) {
  const Index first = static_cast<Index>(blockIdx.x) * (kThreads * kPerThread) + threadIdx.x;
  Word held[kPerThread];
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    Index rest = first + j * kThreads;
    if (rest >= total) break;
    const int64_t column = rows.width.split(&rest), k = rows.count.split(&rest);
    const int32_t index = indices[k];
    held[j] = Word{};
    if (is_index(index, rows.length, k, to))
      held[j] = x[(static_cast<int64_t>(rest) * rows.length + index) * rows.width.value + column];
  }
#pragma unroll
  for (int j = 0; j < kPerThread; ++j)
    if (first + j * kThreads < total) y[first + j * kThreads] = held[j];
}

// y[outer, k, inner] = x[outer, indices[outer, k, inner], inner].
struct Elements {
  Divisor inner, count;
  int64_t length;
};

template <class Word, class Index>
__global__ void __launch_bounds__(kThreads)
    take_elements(const Word* x, const int32_t* indices, Word* y, Index total, const Elements of, const Report to) {
  const Index first = static_cast<Index>(blockIdx.x) * (kThreads * kPerThread) + threadIdx.x;
  Word held[kPerThread];
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const Index i = first + j * kThreads;
    if (i >= total) break;
    Index rest = i;
    const int64_t column = of.inner.split(&rest);
    of.count.split(&rest);
    const int32_t index = indices[i];
    held[j] = Word{};
    if (is_index(index, of.length, i, to))
      held[j] = x[(static_cast<int64_t>(rest) * of.length + index) * of.inner.value + column];
  }
#pragma unroll
  for (int j = 0; j < kPerThread; ++j)
    if (first + j * kThreads < total) y[first + j * kThreads] = held[j];
}

bool is_small(int64_t total) { return total < (int64_t{1} << 31) - (1 << 16); }
Launch shape_of(int64_t total) {
  const int64_t per_block = kThreads * kPerThread;
  return {dim3(static_cast<unsigned>((total + per_block - 1) / per_block)), dim3(kThreads)};
}

class Take : public Kernel {
 public:
  Take(const AroundAxis& x, int64_t indices, size_t element_bytes)
      : x_(x), indices_(indices), word_(element_bytes), width_(x.inner), site_(refuse_index("take", x.length)) {
    while (word_ < 16 && width_ > 0 && width_ % 2 == 0) word_ *= 2, width_ /= 2;
    total_ = x.outer * indices * width_;
  }
  bool checks_values() const override { return true; }

  void run(const Call& call) override {
    if (total_ == 0) return check_indices(call.input<int32_t>(1), indices_, x_.length, site_.report());
    is_small(total_) ? take<uint32_t>(call) : take<int64_t>(call);
  }

 private:
  template <class Index>
  void take(const Call& call) const {
    word_ == 16  ? take_of<uint4, Index>(call)
    : word_ == 8 ? take_of<uint2, Index>(call)
    : word_ == 4 ? take_of<uint32_t, Index>(call)
    : word_ == 2 ? take_of<uint16_t, Index>(call)
                 : take_of<uint8_t, Index>(call);
  }
  template <class Word, class Index>
  void take_of(const Call& call) const {
    launch("take", take_rows<Word, Index>, shape_of(total_), call.input<Word>(0), call.input<int32_t>(1),
           call.output<Word>(0), static_cast<Index>(total_), Rows{Divisor(width_), Divisor(indices_), x_.length},
           site_.report());
  }

  AroundAxis x_;
  int64_t indices_;
  size_t word_;
  int64_t width_, total_ = 0;
  Site site_;
};

std::unique_ptr<Kernel> prepare_take(const Node& node, std::string* why) {
  AroundAxis around;
  if (!read_take(node, &around, why)) return nullptr;
  return std::make_unique<Take>(around, node.inputs[1].size(), dtype_bytes(node.inputs[0].dtype));
}

class TakeAlongAxis : public Kernel {
 public:
  TakeAlongAxis(const AroundAxis& x, int64_t count, size_t element_bytes)
      : x_(x),
        count_(count),
        width_(element_bytes),
        total_(x.outer * count * x.inner),
        site_(refuse_index("takeAlongAxis", x.length)) {}
  bool checks_values() const override { return true; }

  void run(const Call& call) override {
    if (total_ == 0) return;
    is_small(total_) ? take<uint32_t>(call) : take<int64_t>(call);
  }

 private:
  template <class Index>
  void take(const Call& call) const {
    width_ == 8   ? take_of<uint2, Index>(call)
    : width_ == 4 ? take_of<uint32_t, Index>(call)
    : width_ == 2 ? take_of<uint16_t, Index>(call)
                  : take_of<uint8_t, Index>(call);
  }
  template <class Word, class Index>
  void take_of(const Call& call) const {
    launch("take_along_axis", take_elements<Word, Index>, shape_of(total_), call.input<Word>(0), call.input<int32_t>(1),
           call.output<Word>(0), static_cast<Index>(total_), Elements{Divisor(x_.inner), Divisor(count_), x_.length},
           site_.report());
  }

  AroundAxis x_;
  int64_t count_;
  size_t width_;
  int64_t total_;
  Site site_;
};

std::unique_ptr<Kernel> prepare_take_along_axis(const Node& node, std::string* why) {
  AroundAxis x, y;
  if (!read_take_along_axis(node, &x, &y, why)) return nullptr;
  return std::make_unique<TakeAlongAxis>(x, y.length, dtype_bytes(node.inputs[0].dtype));
}

TE_CUDA_KERNEL(take, prepare_take);
TE_CUDA_KERNEL(take_along_axis, prepare_take_along_axis);

}  // namespace

void check_indices(const int32_t* indices, int64_t n, int64_t size, const Report& to) {
  if (n == 0) return;
  launch("check_indices", check_each, {dim3(static_cast<unsigned>((n + kThreads - 1) / kThreads)), dim3(kThreads)},
         indices, n, size, to);
}

}  // namespace te::cuda
