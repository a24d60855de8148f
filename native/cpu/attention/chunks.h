// Scratch of attention, and which chunk of keys or values it holds.
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

// Which chunk of which head each slot holds, and whether its numbers are finite. With more than one slot every chunk
// stays until the head changes.
class ChunkOwners {
 public:
  ChunkOwners(Carver& carver, int64_t keys, int64_t depth, int64_t slots)
      : keys_(keys), depth_(depth), stride_(round_up(depth, kPad)), slots_(slots) {
    owner_ = carver.take<int64_t>(slots);
    finite_ = carver.take<uint8_t>(slots);
    given_ = carver.take(stride_);
  }

  static int64_t chunks(int64_t keys) { return (keys + kChunk - 1) / kChunk; }

  void forget() { std::fill(owner_, owner_ + slots_, int64_t{-1}); }

  // Whether every number of the current chunk is finite.
  bool finite() const { return finite_[slot_] != 0; }
  // Row `position` as it was given, or nullptr when it is finite.
  const float* unless_finite(const Problem& p, const void* data, const Rows& rows, int64_t b, int64_t group,
                             int64_t position) const {
    const int64_t at = rows.at(b, position, group) * static_cast<int64_t>(dtype_bytes(p.dtype));
    load_row(p.dtype, static_cast<const char*>(data) + at, depth_, given_);
    std::fill(given_ + depth_, given_ + stride_, 0.0f);
    return all_finite(given_, depth_) ? nullptr : given_;
  }

  int64_t stride() const { return stride_; }  // of a row, padded

 protected:
  // Makes `chunk` of head (b, group) current. False when its slot holds it.
  bool claim(const Problem& p, int64_t b, int64_t group, int64_t chunk) {
    slot_ = slots_ > 1 ? chunk : 0;
    const int64_t owner = (b * p.groups + group) * chunks(keys_) + chunk;
    if (owner_[slot_] == owner) return false;
    owner_[slot_] = owner;
    finite_[slot_] = 1;
    return true;
  }

  void found_not_finite() { finite_[slot_] = 0; }
  int64_t slot() const { return slot_; }
  int64_t keys() const { return keys_; }
  int64_t depth() const { return depth_; }

 private:
  int64_t keys_, depth_, stride_, slots_, slot_ = 0;
  int64_t* owner_;
  uint8_t* finite_;
  float* given_;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
