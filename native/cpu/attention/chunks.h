// The keys and values of attention as float32, chunk by chunk.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/attention/panels.h"
#include "cpu/simd/convert.h"
#include "cpu/simd/stream.h"
#include "plan/attention_problem.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

using namespace attention;

inline constexpr int64_t kChunk = 256;

// Hands out pieces of one allocation; with base nullptr it only counts.
class Carver {
 public:
  explicit Carver(void* base) : base_(static_cast<char*>(base)) {}
  template <class T = float>
  T* take(int64_t n) {
    char* piece = base_ + used_;
    used_ += round_up(n * static_cast<int64_t>(sizeof(T)), 64);
    return base_ ? reinterpret_cast<T*>(piece) : nullptr;
  }
  size_t used() const { return static_cast<size_t>(used_); }

 private:
  char* base_;
  int64_t used_ = 0;
};

// Heads lie between the positions of an operand, so that its rows are far apart: ask for them ahead of use.
inline constexpr int64_t kRowsAhead = 8;

inline bool all_finite(const float* row, int64_t n) {
  const uint32_t* bits = reinterpret_cast<const uint32_t*>(row);
  uint32_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t c = 0; c < n; ++c) largest = std::max(largest, bits[c] & 0x7fffffffu);
  return largest < 0x7f800000u;
}

// The keys or values of one head as float32, made chunk by chunk when first needed: as rows, as panels, or both.
// A panel holds kPanel keys as columns. With more than one slot every chunk stays until the head changes.
// Rows that hold an infinity or a NaN are kept as zeros: a key that a query does not see has weight 0, and 0 * NaN is
// not 0. Panels keep them, because what they give is replaced where it is hidden.
class KeyChunks {
 public:
  KeyChunks(Carver& carver, int64_t keys, int64_t depth, int64_t slots, bool rows, bool panels)
      : keys_(keys), depth_(depth), stride_(round_up(depth, kPad)), slots_(slots), panels_(nullptr) {
    rows_ = carver.take(rows ? slots * kChunk * stride_ : kPad * stride_);
    if (panels) panels_ = carver.take(slots * kChunk * depth);
    keep_rows_ = rows;
    make_panels_ = panels;
    owner_ = carver.take<int64_t>(slots);
    finite_ = carver.take<uint8_t>(slots);
    given_ = carver.take(stride_);
  }

  static int64_t chunks(int64_t keys) { return (keys + kChunk - 1) / kChunk; }

  void forget() { std::fill(owner_, owner_ + slots_, int64_t{-1}); }

  // Makes `chunk` of head (b, group) current.
  void load(const Problem& p, const void* data, const Rows& rows, int64_t b, int64_t group, int64_t chunk) {
    slot_ = slots_ > 1 ? chunk : 0;
    const int64_t owner = (b * p.groups + group) * chunks(keys_) + chunk;
    if (owner_[slot_] == owner) return;
    owner_[slot_] = owner;
    finite_[slot_] = 1;
    const int64_t first = chunk * kChunk, n = std::min(kChunk, keys_ - first);
    const char* from = static_cast<const char*>(data);
    const int64_t bytes = static_cast<int64_t>(dtype_bytes(p.dtype));
    for (int64_t j = 0; j < n; j += kPad) {
      float* to = keep_rows_ ? rows_ + (slot_ * kChunk + j) * stride_ : rows_;
      for (int64_t r = 0; r < kPad; ++r) {
        float* row = to + r * stride_;
        const int64_t filled = j + r < n ? depth_ : 0, ahead = std::min(j + r + kRowsAhead, n - 1);
        prefetch_bytes(from + rows.at(b, first + ahead, group) * bytes, depth_ * bytes);
        if (filled) load_row(p.dtype, from + rows.at(b, first + j + r, group) * bytes, depth_, row);
        std::fill(row + filled, row + stride_, 0.0f);
      }
      for (int64_t r = 0; make_panels_ && r < kPad; r += kLanes) {
        float* panel = panels_ + slot_ * kChunk * depth_ + (j + r) / kPanel * kPanel * depth_ + (j + r) % kPanel;
        transpose_rows(to + r * stride_, stride_, depth_, panel, kPanel);
      }
      if (keep_rows_ && !all_finite(to, kPad * stride_)) clear(to);
    }
  }

  // Whether every number of the current chunk's rows is finite.
  bool finite() const { return finite_[slot_] != 0; }
  // Row `position` as it was given, or nullptr when it is finite.
  const float* unless_finite(const Problem& p, const void* data, const Rows& rows, int64_t b, int64_t group,
                             int64_t position) const {
    const int64_t at = rows.at(b, position, group) * static_cast<int64_t>(dtype_bytes(p.dtype));
    load_row(p.dtype, static_cast<const char*>(data) + at, depth_, given_);
    std::fill(given_ + depth_, given_ + stride_, 0.0f);
    return all_finite(given_, depth_) ? nullptr : given_;
  }

  int64_t stride() const { return stride_; }
  const float* rows() const { return rows_ + slot_ * kChunk * stride_; }
  const float* panels() const { return panels_ + slot_ * kChunk * depth_; }

 private:
  void clear(float* to) {
    finite_[slot_] = 0;
    for (int64_t r = 0; r < kPad; ++r, to += stride_) {
      if (!all_finite(to, stride_)) std::fill(to, to + stride_, 0.0f);
    }
  }

  int64_t keys_, depth_, stride_, slots_, slot_ = 0;
  bool keep_rows_, make_panels_;
  float *rows_, *panels_, *given_;
  int64_t* owner_;
  uint8_t* finite_;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
