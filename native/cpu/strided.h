// Copies between arrays whose axes have any strides: slices, broadcasts, reversals and windows are all this.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "plan/moves.h"
#include "te/kernel.h"
#include "te/parallel.h"

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// `rows` runs of `bytes` bytes, a run in one move where its length is common enough to be compiled in.
template <size_t kBytes>
inline void copy_runs(const char* from, int64_t in, char* to, int64_t out, int64_t rows) {
  for (int64_t row = 0; row < rows; ++row) std::memcpy(to + row * out, from + row * in, kBytes);
}
inline void copy_runs(const char* from, int64_t in, char* to, int64_t out, int64_t rows, size_t bytes) {
  switch (bytes) {
    case 8:
      return copy_runs<8>(from, in, to, out, rows);
    case 16:
      return copy_runs<16>(from, in, to, out, rows);
    case 32:
      return copy_runs<32>(from, in, to, out, rows);
    case 64:
      return copy_runs<64>(from, in, to, out, rows);
    case 128:
      return copy_runs<128>(from, in, to, out, rows);
    case 256:
      return copy_runs<256>(from, in, to, out, rows);
  }
  for (int64_t row = 0; row < rows; ++row) std::memcpy(to + row * out, from + row * in, bytes);
}

// One innermost row: `n` elements from `from` with stride `in` to `to` with stride `out`, both in elements.
template <class T>
inline void copy_row(const T* from, int64_t in, T* to, int64_t out, int64_t n) {
  if (in == 1 && out == 1) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(T));
  } else if (in == 0 && out == 1) {
    const T value = *from;
    for (int64_t i = 0; i < n; ++i) to[i] = value;
  } else if (in == -1 && out == 1) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = from[-i];
  } else if (in == 2 && out == 1) {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) to[i] = from[2 * i];
  } else {
    for (int64_t i = 0; i < n; ++i) to[i * out] = from[i * in];
  }
}

// Strides and offsets in elements. Neighbouring axes that form one run are merged at construction.
class StridedCopy {
 public:
  StridedCopy(const StridedMove& move, size_t width) : StridedCopy(move.shape, move.in, move.out, width) {}
  StridedCopy(const Shape& shape, const std::vector<int64_t>& in, const std::vector<int64_t>& out, size_t width)
      : width_(width), count_(count(shape)) {
    for (const MovedAxis& axis : merged_axes(shape, in, out)) {
      shape_.push_back(axis.size);
      in_.push_back(axis.in);
      out_.push_back(axis.out);
    }
    if (shape_.empty()) shape_ = {1}, in_ = {1}, out_ = {1};
  }

  void run(const void* from, int64_t from_offset, void* to, int64_t to_offset) const {
    switch (width_) {
      case 1:
        return move<uint8_t>(from, from_offset, to, to_offset);
      case 2:
        return move<uint16_t>(from, from_offset, to, to_offset);
      case 4:
        return move<uint32_t>(from, from_offset, to, to_offset);
      default:
        return move<uint64_t>(from, from_offset, to, to_offset);
    }
  }

 private:
  template <class T>
  void move(const void* from, int64_t from_offset, void* to, int64_t to_offset) const {
    if (count_ == 0) return;
    const T* source = static_cast<const T*>(from) + from_offset;
    T* target = static_cast<T*>(to) + to_offset;
    const size_t last = shape_.size() - 1;
    const int64_t n = shape_[last], rows = count_ / n;
    if (rows == 1) {  // one long row: split it
      parallel_for(n, 1 << 16, [&](int64_t begin, int64_t end) {
        copy_row(source + begin * in_[last], in_[last], target + begin * out_[last], out_[last], end - begin);
      });
      return;
    }
    // A plane is a run of rows along the second last axis; only its start needs the multi-index.
    const int64_t height = shape_[last - 1];
    parallel_for(rows, (1 << 14) / n + 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end;) {
        const int64_t first = row % height, rows_here = std::min(end - row, height - first);
        int64_t rest = row / height, a = first * in_[last - 1], b = first * out_[last - 1];
        for (size_t i = last - 1; i-- > 0; rest /= shape_[i]) {
          a += rest % shape_[i] * in_[i];
          b += rest % shape_[i] * out_[i];
        }
        copy_plane(source + a, target + b, rows_here);
        row += rows_here;
      }
    });
  }

  template <class T>
  void copy_plane(const T* from, T* to, int64_t rows) const {
    const size_t last = shape_.size() - 1;
    const int64_t n = shape_[last], in = in_[last], out = out_[last], down = in_[last - 1], along = out_[last - 1];
    constexpr int64_t kSize = static_cast<int64_t>(sizeof(T));
    if (in == 1 && out == 1) {
      copy_runs(reinterpret_cast<const char*>(from), down * kSize, reinterpret_cast<char*>(to), along * kSize, rows,
                static_cast<size_t>(n) * sizeof(T));
    } else {
      for (int64_t row = 0; row < rows; ++row) copy_row(from + row * down, in, to + row * along, out, n);
    }
  }

  size_t width_;
  int64_t count_;
  std::vector<int64_t> shape_, in_, out_;
};

// A kernel that is one strided copy of its first input.
class StridedKernel : public Kernel {
 public:
  StridedKernel(StridedCopy copy, int64_t offset) : copy_(std::move(copy)), offset_(offset) {}
  void run(const Call& call) override { copy_.run(call.in[0], offset_, call.out[0], 0); }

 private:
  StridedCopy copy_;
  int64_t offset_;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
