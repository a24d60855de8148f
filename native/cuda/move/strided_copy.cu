// Strided copies: words of up to 16 bytes where runs and strides allow; where they do not, target words that are put
// together from single elements.
#include <algorithm>
#include <numeric>

#include "cuda/launch.h"
#include "cuda/move/strided_copy.h"
#include "cuda/move/walk.cuh"
#include "cuda/vector.cuh"

namespace te::cuda {
namespace {

constexpr int kThreads = 256, kPerThread = 4;

struct DeviceStart {
  struct Axis {
    int64_t limit, stride;
    int at;
  };

  __device__ int64_t offset() const {
    int64_t sum = 0;
    for (int d = 0; d < rank; ++d) {
      const int64_t at = start[axis[d].at];
      sum += (at < 0 ? 0 : at > axis[d].limit ? axis[d].limit : at) * axis[d].stride;
    }
    return sum;
  }

  const int32_t* start = nullptr;
  int rank = 0;
  bool of_output = false;
  Axis axis[kMaxAxes];
};

template <class Word, class Index>
__global__ void __launch_bounds__(kThreads)
    copy_words(const Word* x, Word* y, Index total, const Walk walk, const DeviceStart start) {
  const int64_t shift = start.offset();
  const Index first = static_cast<Index>(blockIdx.x) * (kThreads * kPerThread) + threadIdx.x;
  Word held[kPerThread];
  int64_t to[kPerThread];
#pragma unroll
  for (int j = 0; j < kPerThread; ++j) {
    const Index i = first + j * kThreads;
    if (i >= total) break;
    int64_t from = start.of_output ? 0 : shift;
    to[j] = start.of_output ? shift : 0;
    walk.add(i, &from, &to[j]);
    held[j] = x[from];
  }
#pragma unroll
  for (int j = 0; j < kPerThread; ++j)
    if (first + j * kThreads < total) y[to[j]] = held[j];
}

// The target is contiguous; a thread makes 16 bytes of it.
template <class Word, class Index>
__global__ void __launch_bounds__(kThreads)
    gather_words(const Word* x, Word* y, Index total, const Walk walk, const DeviceStart start) {
  constexpr int kWords = kWidest<Word>;
  const int64_t shift = start.offset();
  const Index first = (static_cast<Index>(blockIdx.x) * kThreads + threadIdx.x) * kWords;
  if (first >= total) return;
  x += shift;
  const int count = left_of(total, first);
  Cursor<Index> cursor(walk, first);
  Vector<Word, kWords> held;
#pragma unroll
  for (int j = 0; j < kWords; ++j) {
    held.at[j] = j < count ? x[cursor.in] : Word{};
    cursor.next(walk);
  }
  store_part(held, y + first, count);
}

template <class Word, class Index>
void start_copy(const void* from, int64_t from_offset, void* to, int64_t to_offset, int64_t total, bool gathers,
                const Walk& walk, const DeviceStart& start) {
  const int64_t per_block = gathers ? kThreads * 16 / static_cast<int64_t>(sizeof(Word)) : kThreads * kPerThread;
  const Launch shape{dim3(static_cast<unsigned>((total + per_block - 1) / per_block)), dim3(kThreads)};
  const Word* x = static_cast<const Word*>(from) + from_offset;
  Word* y = static_cast<Word*>(to) + to_offset;
  if constexpr (sizeof(Word) <= 2) {
    if (gathers)
      return launch("gather", gather_words<Word, Index>, shape, x, y, static_cast<Index>(total), walk, start);
  }
  launch("copy", copy_words<Word, Index>, shape, x, y, static_cast<Index>(total), walk, start);
}

template <class Index>
void start_copy_of(size_t word, const void* from, int64_t from_offset, void* to, int64_t to_offset, int64_t total,
                   bool gathers, const Walk& walk, const DeviceStart& start) {
  const auto copy = word == 16  ? start_copy<uint4, Index>
                    : word == 8 ? start_copy<uint2, Index>
                    : word == 4 ? start_copy<uint32_t, Index>
                    : word == 2 ? start_copy<uint16_t, Index>
                                : start_copy<uint8_t, Index>;
  copy(from, from_offset, to, to_offset, total, gathers, walk, start);
}

}  // namespace

StridedCopy::StridedCopy(StridedMove move, size_t element_bytes, WindowStart start)
    : from_(move.from),
      to_(move.to),
      words_(count(move.shape)),
      word_(element_bytes),
      axes_(merged_axes(move.shape, move.in, move.out)),
      start_(std::move(start)) {
  if (words_ == 0) return;
  // As many elements in a word as runs hold and all offsets are multiples of.
  const bool has_runs = !axes_.empty() && axes_.back().in == 1 && axes_.back().out == 1;
  if (has_runs) {
    int64_t common = std::gcd(std::gcd(from_, to_), axes_.back().size);
    for (size_t i = 0; i + 1 < axes_.size(); ++i) common = std::gcd(common, std::gcd(axes_[i].in, axes_[i].out));
    for (size_t i = 0; i < start_.limit.size(); ++i)
      if (start_.limit[i] > 0) common = std::gcd(common, start_.strides[i]);
    int64_t wide = 1;
    while (word_ < 16 && common % (2 * wide) == 0) wide *= 2, word_ *= 2;
    from_ /= wide, to_ /= wide, words_ /= wide;
    for (size_t i = 0; i + 1 < axes_.size(); ++i) axes_[i].in /= wide, axes_[i].out /= wide;
    for (int64_t& stride : start_.strides) stride /= wide;
    axes_.back().size /= wide;
    if (axes_.back().size == 1) axes_.pop_back();
  }
  int64_t step = 1;
  bool contiguous = !axes_.empty() && to_ % (16 / static_cast<int64_t>(word_)) == 0 && !start_.of_output;
  for (size_t i = axes_.size(); i-- > 0; step *= axes_[i].size) contiguous = contiguous && axes_[i].out == step;
  gathers_ = contiguous && word_ <= 2;
}

void StridedCopy::run(const void* from, void* to, const int32_t* start) const {
  if (words_ == 0) return;
  DeviceStart device;
  device.start = start;
  device.of_output = start_.of_output;
  for (size_t i = 0; i < start_.limit.size(); ++i) {
    if (start_.limit[i] == 0) continue;
    device.axis[device.rank++] = {start_.limit[i], start_.strides[i], static_cast<int>(i)};
  }
  const bool small = words_ < (int64_t{1} << 31) - (1 << 16);
  const auto copy = small ? start_copy_of<uint32_t> : start_copy_of<int64_t>;
  copy(word_, from, from_, to, to_, words_, gathers_, Walk(axes_), device);
}

}  // namespace te::cuda
