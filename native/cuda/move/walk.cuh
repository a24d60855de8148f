// Positions of row-major elements in arrays whose axes have any strides, on the device.
#pragma once
#include <cstdint>
#include <vector>

#include "plan/strides.h"
#include "te/status.h"

namespace te::cuda {

// Division by a number that is known at launch time: of 31-bit numbers by a product, of larger ones as it comes.
struct Divisor {
  Divisor() = default;
  explicit Divisor(int64_t size) : value(size) {
    if (size < 2) return;
    while (size > int64_t{1} << shift) ++shift;
    const uint64_t power = uint64_t{1} << (31 + (shift < 31 ? shift : 31));
    magic = static_cast<uint32_t>((power + static_cast<uint64_t>(size) - 1) / static_cast<uint64_t>(size));
    whole = false;
  }

  // n = n / value; returns n % value.
  __device__ uint32_t split(uint32_t* n) const {
    const uint32_t quotient = whole ? *n : __umulhi(*n, magic) >> (shift - 1);
    const uint32_t rest = *n - quotient * static_cast<uint32_t>(value);
    *n = quotient;
    return rest;
  }
  __device__ int64_t split(int64_t* n) const {
    const int64_t quotient = *n / value, rest = *n - quotient * value;
    *n = quotient;
    return rest;
  }

  // `small`: n has 31 bits.
  __device__ int64_t split(int64_t* n, bool small) const {
    if (!small) return split(n);
    uint32_t narrow = static_cast<uint32_t>(*n);
    const uint32_t rest = split(&narrow);
    *n = narrow;
    return rest;
  }

  int64_t value = 1;
  uint32_t magic = 0;
  int32_t shift = 0;
  bool whole = true;
};

// Axes of length 2 and more: 40 of them have more elements than any memory.
constexpr int kMaxAxes = 40;

// The axes of a copy, outermost first.
struct Walk {
  struct Axis {
    Divisor size;
    int64_t in, out;
  };

  Walk() = default;
  explicit Walk(const std::vector<MovedAxis>& axes) : rank(static_cast<int>(axes.size())) {
    if (rank > kMaxAxes) throw Error("memory", "an array of more elements than memory can hold");
    for (int i = 0; i < rank; ++i) {
      const MovedAxis& from = axes[static_cast<size_t>(i)];
      axis[i] = {Divisor(from.size), from.in, from.out};
    }
  }

  // Adds to *in and *out where element i lies.
  template <class Index>
  __device__ void add(Index i, int64_t* in, int64_t* out) const {
    for (int d = rank - 1; d > 0; --d) {
      const int64_t at = axis[d].size.split(&i);
      *in += at * axis[d].in;
      *out += at * axis[d].out;
    }
    if (rank > 0) {
      *in += static_cast<int64_t>(i) * axis[0].in;
      *out += static_cast<int64_t>(i) * axis[0].out;
    }
  }

  int rank = 0;
  Axis axis[kMaxAxes];
};

// Goes from one element of a walk to the next.
template <class Index>
struct Cursor {
  __device__ Cursor(const Walk& walk, Index first) : i(first) { place(walk); }

  __device__ void next(const Walk& walk) {
    ++i;
    if (--left == 0) return place(walk);
    in += walk.axis[walk.rank - 1].in;
    out += walk.axis[walk.rank - 1].out;
  }

  Index i;
  int64_t in, out;

 private:
  __device__ void place(const Walk& walk) {
    in = out = 0;
    walk.add(i, &in, &out);
    if (walk.rank == 0) return;
    Index rest = i;
    const Divisor& size = walk.axis[walk.rank - 1].size;
    left = size.value - static_cast<int64_t>(size.split(&rest));
  }

  int64_t left = 1;  // in the innermost row
};

}  // namespace te::cuda
