// What the row kernels share: float32 views of rows of any float dtype, sums that do not lose digits, and the division
// of work into parts that depends on the shape alone, so that results do not depend on the number of threads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "cpu/simd/convert.h"
#include "cpu/simd/stream.h"
#include "te/dtype.h"
#include "te/kernel.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline bool is_float(DType t) { return t == DType::float32 || t == DType::bfloat16 || t == DType::float16; }
inline bool is_integer(DType t) {
  return t == DType::int32 || t == DType::uint32 || t == DType::uint8 || t == DType::boolean;
}

inline const char* at(DType type, const void* base, int64_t element) {
  return static_cast<const char*>(base) + element * static_cast<int64_t>(dtype_bytes(type));
}
inline char* at(DType type, void* base, int64_t element) {
  return static_cast<char*>(base) + element * static_cast<int64_t>(dtype_bytes(type));
}

// Elements [first, first + n) of a tensor as float32: the memory itself for float32, otherwise decoded into `buffer`.
// (Or as the codes of a 16-bit type, which are always in memory.)
template <class Number>
inline const Number* row_in(DType type, const void* base, int64_t first, int64_t n, Number* buffer) {
  if (sizeof(Number) == dtype_bytes(type)) return static_cast<const Number*>(base) + first;
  if constexpr (std::is_same_v<Number, float>) load_row(type, at(type, base, first), n, buffer);
  return buffer;
}

// Where rows of a result go. `at(first, buffer)` is where best to compute elements [first, ...): in place if they are
// computed as they are stored, in the buffer otherwise; `done` then brings them to their place, rounded. (The numbers
// are float32 or those of the result.) Large results are streamed from the buffer.
class RowWriter {
 public:
  RowWriter(DType type, void* base, int64_t elements)
      : type_(type),
        base_(static_cast<char*>(base)),
        size_(static_cast<int64_t>(dtype_bytes(type))),
        stream_(elements * size_ >= kStreamBytes) {}

  template <class Number>
  Number* at(int64_t first, Number* buffer) const {
    return sizeof(Number) == size_ && !stream_ ? reinterpret_cast<Number*>(base_) + first : buffer;
  }
  template <class Number>
  void done(const Number* computed, int64_t n, int64_t first) const {
    char* place = base_ + first * size_;
    if (reinterpret_cast<const char*>(computed) == place) return;
    if constexpr (sizeof(Number) == sizeof(float)) {
      stream_ ? stream_row(type_, computed, n, place) : store_row(type_, computed, n, place);
    } else if (stream_) {
      copy_past_cache(place, computed, n * size_);
    } else {
      std::memcpy(place, computed, static_cast<size_t>(n * size_));
    }
  }
  // For write_ahead: 0 where `at` gives the buffer.
  template <class Number>
  int64_t ahead() const {
    return sizeof(Number) == size_ && !stream_ ? kAhead : 0;
  }
  // At the end of a thread's share.
  void finish() const {
    if (stream_) finish_streaming();
  }

 private:
  DType type_;
  char* base_;
  int64_t size_;
  bool stream_;
};

// Number of parts for n independent items of `width` elements: enough for the present team, and none of them smaller
// than about 16k elements.
inline int64_t parts_for_team(int64_t n, int64_t width) {
  const int64_t worthwhile = n * std::max<int64_t>(width, 1) / 16384;
  return std::max<int64_t>(1, std::min({n, worthwhile, ranges_for_team()}));
}

// Number of parts that depends on the shape alone, for sums whose order must not depend on the team.
inline int64_t parts_for_shape(int64_t n, int64_t width) {
  const int64_t worthwhile = n * std::max<int64_t>(width, 1) / 16384;
  return std::max<int64_t>(1, std::min<int64_t>({n, worthwhile, 64}));
}

inline int64_t part_begin(int64_t n, int64_t parts, int64_t part) { return n * part / parts; }

// body(part, begin, end) for every part of [0, n) that is not empty: a body may look at its first item.
template <class Body>
inline void for_parts(int64_t n, int64_t parts, const Body& body) {
  parallel_for(parts, 1, [&](int64_t first, int64_t last) {
    for (int64_t part = first; part < last; ++part) {
      const int64_t begin = part_begin(n, parts, part), end = part_begin(n, parts, part + 1);
      if (begin < end) body(part, begin, end);
    }
  });
}

// Distance between rows of n floats in scratch: whole steps of simd/lane_pairs.h, and not close to a multiple of 4096
// bytes, because a load that follows a store at the same offset in another page waits for it.
inline int64_t padded_floats(int64_t n) {
  const int64_t padded = (n + 31) & ~int64_t{31};
  return padded % 1024 < 128 ? padded + 160 : padded;
}

inline std::unique_ptr<Kernel> decline(std::string* why, const std::string& reason) {
  *why = reason;
  return nullptr;
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
