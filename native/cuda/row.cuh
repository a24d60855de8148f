// Rows of a matrix in the registers of the threads that share them, for kernels that look at a row more than once.
//
// A row is cut where memory is: into packs that begin at multiples of 16 bytes. Where the number of columns is not a
// multiple of a pack, the packs at both ends of a row hang over; these move element by element, all others as one.
//
//   Group group(plan.group, memory);
//   const Place<W> place(group, plan);
//   const Row<T, N> row(x, place, absent);
//   row.each([&](int column, const float (&v)[W]) { ... put_numbers(y + place.start, place, column, v); });
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

#include "cuda/launch.h"
#include "cuda/primitives.cuh"
#include "cuda/reduce.cuh"
#include "te/dtype.h"

namespace te::cuda {

template <class T>
constexpr int kPackWidth = 16 / static_cast<int>(sizeof(T));

// W elements as they are stored, in words: elements of 16 bits would take a register each.
template <class T, int W>
struct alignas(sizeof(T) * W < 16 ? sizeof(T) * W : 16) Pack {
  static_assert(sizeof(T) * W % 4 == 0);
  static constexpr int kOfWord = 4 / static_cast<int>(sizeof(T)), kBits = 8 * static_cast<int>(sizeof(T));
  uint32_t word[W / kOfWord];
};

// An element of T as bits.
template <class T>
using Bits = std::conditional_t<sizeof(T) == 4, uint32_t, std::conditional_t<sizeof(T) == 2, uint16_t, uint8_t>>;

template <class T, int W>
__device__ inline void decode(const Pack<T, W>& pack, float (&v)[W]) {
#pragma unroll
  for (int k = 0; k < W; ++k) {
    const uint32_t word = pack.word[k / Pack<T, W>::kOfWord];
    if constexpr (std::is_same_v<T, float>)
      v[k] = __uint_as_float(word);
    else if constexpr (std::is_same_v<T, __nv_bfloat16>)
      v[k] = __uint_as_float(k % 2 == 0 ? word << 16 : word & 0xffff0000u);
    else
      v[k] = __half2float(__ushort_as_half(static_cast<unsigned short>(k % 2 == 0 ? word & 0xffffu : word >> 16)));
  }
}

// Rounds each number once.
template <class T, int W>
__device__ inline Pack<T, W> encode(const float (&v)[W]) {
  Pack<T, W> pack;
#pragma unroll
  for (int k = 0; k < W; k += Pack<T, W>::kOfWord) {
    uint32_t& word = pack.word[k / Pack<T, W>::kOfWord];
    if constexpr (std::is_same_v<T, float>) {
      word = __float_as_uint(v[k]);
    } else if constexpr (std::is_same_v<T, __nv_bfloat16>) {
      const __nv_bfloat162 two = __floats2bfloat162_rn(v[k], v[k + 1]);
      word = __bfloat16_as_ushort(two.x) | static_cast<uint32_t>(__bfloat16_as_ushort(two.y)) << 16;
    } else {
      const __half2 two = __floats2half2_rn(v[k], v[k + 1]);
      word = __half_as_ushort(two.x) | static_cast<uint32_t>(__half_as_ushort(two.y)) << 16;
    }
  }
  return pack;
}

// The bits of -infinity and of zero.
template <class T>
constexpr uint32_t kMinusInfinityBits = std::is_same_v<T, float>           ? 0xff800000u
                                        : std::is_same_v<T, __nv_bfloat16> ? 0xff80u
                                                                           : 0xfc00u;

// How threads share rows, by their length: decided on the host. A kernel that it starts has
// __launch_bounds__(kRowThreads).
constexpr int kRowThreads = 1024;
struct RowPlan {
  int64_t rows = 0;
  int columns = 0;
  int packs = 0;  // that each thread holds; 0: the row is too long, and is read as often as it is looked at
  int group = 1;  // threads of a row
  int threads = 128;

  // width: elements of a pack. most: the largest `packs` that the kernel has; more than `wanted` where threads run out.
  RowPlan(int64_t row_count, int64_t column_count, int width, int most, int wanted = 4)
      : rows(row_count), columns(static_cast<int>(column_count)) {
    const int64_t all = (column_count + (column_count % width == 0 ? 0 : width - 1) + width - 1) / width;
    const auto whole_warps = [&](int64_t held) { return (all + held * 32 - 1) / (held * 32) * 32; };
    packs = 1;
    if (all <= 32) {
      while (group < all) group *= 2;
    } else {
      while (packs < std::min(wanted, most) && all > 32 * packs) packs *= 2;
      while (packs < most && whole_warps(packs) > kRowThreads) packs *= 2;
      if (whole_warps(packs) > kRowThreads) packs = 0;
      group = packs == 0 ? kRowThreads : static_cast<int>(whole_warps(packs));
    }
    threads = std::max(group, 128);
    if (threads % group != 0) threads = group;
  }

  static bool fits(int64_t columns) { return columns <= int64_t{1} << 30; }
  int rows_of_block() const { return threads / group; }
  Launch shape() const {
    const int64_t blocks = (rows + rows_of_block() - 1) / rows_of_block();
    return {dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(threads))};
  }
};

// body(packs) with `packs` of a plan as a constant.
template <int Most, class Body>
void with_packs(int packs, const Body& body) {
  if (packs == 0) return body(std::integral_constant<int, 0>());
  if (packs == 1) return body(std::integral_constant<int, 1>());
  if constexpr (Most >= 2)
    if (packs == 2) return body(std::integral_constant<int, 2>());
  if constexpr (Most >= 4)
    if (packs == 4) return body(std::integral_constant<int, 4>());
  if constexpr (Most >= 8)
    if (packs == 8) return body(std::integral_constant<int, 8>());
}

// body(T{}) with a dtype as a type: float32, bfloat16 or float16.
template <class Body>
auto with_row_type(DType dtype, const Body& body) {
  if (dtype == DType::bfloat16) return body(__nv_bfloat16());
  if (dtype == DType::float16) return body(__half());
  return body(float());
}
inline bool is_row_type(DType t) { return t == DType::float32 || t == DType::bfloat16 || t == DType::float16; }

// Where a thread finds its packs of W elements: pack i begins at column(i), which may lie before the row or behind it.
template <int W>
struct Place {
  int64_t start;    // of the row, in elements
  int columns;      // 0: there is no such row
  int first, step;  // columns of pack 0, and from pack to pack
  bool aligned = true;

  __device__ Place(const Group& group, int64_t row, int64_t rows, int row_columns)
      : start(row * row_columns), columns(row < rows ? row_columns : 0), step(group.size() * W) {
    first = group.rank() * W - static_cast<int>(start & (W - 1));
  }
  __device__ Place(const Group& group, const RowPlan& plan) : Place(group, group.row(), plan.rows, plan.columns) {}

  // The same columns in every row, for sums over rows. Where rows begin inside of a pack, no pack moves as one.
  __device__ static Place of_columns(const Group& group, int64_t row, int64_t rows, int row_columns) {
    Place place(group, row, rows, row_columns);
    place.first = group.rank() * W;
    place.aligned = row_columns % W == 0;
    return place;
  }

  __device__ int column(int i) const { return first + i * step; }
  __device__ bool has(int c) const { return static_cast<unsigned>(c) < static_cast<unsigned>(columns); }
  __device__ bool any_at(int c) const { return c < columns; }
  __device__ bool whole_at(int c) const { return aligned && c >= 0 && c + W <= columns; }
};

// Elements [column, column + W) of a row; where there are none, the bits `absent`. from: column 0; a whole pack is
// aligned, unless `aligned` says otherwise.
template <class T, int W>
__device__ inline Pack<T, W> take_pack(const T* from, const Place<W>& place, int column, uint32_t absent = 0,
                                       bool aligned = true) {
  using P = Pack<T, W>;
  if (aligned && place.whole_at(column)) return *reinterpret_cast<const P*>(from + column);
  P pack;
  const Bits<T>* bits = reinterpret_cast<const Bits<T>*>(from);
#pragma unroll
  for (int k = 0; k < W; ++k) {
    const uint32_t element = place.has(column + k) ? bits[column + k] : absent;
    uint32_t& word = pack.word[k / P::kOfWord];
    word = k % P::kOfWord == 0 ? element : word | element << (k % P::kOfWord * P::kBits % 32);
  }
  return pack;
}
template <class T, int W>
__device__ inline void put_pack(T* to, const Place<W>& place, int column, const Pack<T, W>& pack) {
  using P = Pack<T, W>;
  if (place.whole_at(column)) {
    *reinterpret_cast<P*>(to + column) = pack;
    return;
  }
  Bits<T>* bits = reinterpret_cast<Bits<T>*>(to);
#pragma unroll
  for (int k = 0; k < W; ++k)
    if (place.has(column + k))
      bits[column + k] = static_cast<Bits<T>>(pack.word[k / P::kOfWord] >> (k % P::kOfWord * P::kBits % 32));
}
template <class T, int W>
__device__ inline void put_numbers(T* to, const Place<W>& place, int column, const float (&v)[W]) {
  put_pack(to, place, column, encode<T>(v));
}

// The numbers of a pack. Those of 16 bits take half the registers of what a look at them computes:
// they are kept, and decoded by each look.
template <class T, int W>
__device__ inline void look(Pack<T, W> pack, float (&v)[W]) {
  if constexpr (sizeof(T) == 2) {
#pragma unroll
    for (uint32_t& word : pack.word) forget(word);
  }
  decode(pack, v);
}

// The row of `place`. N: plan.packs, which are held; with 0 every look reads the row, a few packs at once, and what is
// visited may be written over.
template <class T, int N, int W = kPackWidth<T>>
class Row {
 public:
  static constexpr int kHeld = N;

  // absent: the bits of elements of a pack that lie outside of the row.
  __device__ Row(const T* base, const Place<W>& place, uint32_t absent = 0)
      : place_(place), from_(base + place.start), absent_(absent) {
#pragma unroll
    for (int i = 0; i < N; ++i) held_[i] = take(i);
  }
  __device__ const Place<W>& place() const { return place_; }
  __device__ Pack<T, W> take(int i) const { return take_pack(from_, place_, place_.column(i), absent_); }
  __device__ const Pack<T, W>& held(int i) const { return held_[i]; }

  // visit(column, v) for every pack of this thread that has an element of the row.
  template <class Visit>
  __device__ void each(const Visit& visit) const {
    const auto visit_pack = [&](const Pack<T, W>& pack, int column) {
      if (!place_.any_at(column)) return;
      float v[W];
      look(pack, v);
      visit(column, v);
    };
#pragma unroll
    for (int i = 0; i < N; ++i) visit_pack(held_[i], place_.column(i));
    if constexpr (N == 0) {
      constexpr int kAtOnce = 4;
      for (int i = 0; place_.any_at(place_.column(i)); i += kAtOnce) {
        Pack<T, W> packs[kAtOnce];
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) packs[k] = take(i + k);
#pragma unroll
        for (int k = 0; k < kAtOnce; ++k) visit_pack(packs[k], place_.column(i + k));
      }
    }
  }

 private:
  Place<W> place_;
  const T* from_;
  uint32_t absent_;
  Pack<T, W> held_[N > 0 ? N : 1];
};

// visit(i, column, v, w) for the packs of two rows of one place; i counts them.
template <class T, class U, int N, int W, class Visit>
__device__ inline void each_of_two(const Row<T, N, W>& first, const Row<U, N, W>& second, const Visit& visit) {
  const Place<W>& place = first.place();
  const auto visit_packs = [&](const Pack<T, W>& a, const Pack<U, W>& b, int i) {
    const int column = place.column(i);
    if (!place.any_at(column)) return;
    float v[W], w[W];
    look(a, v);
    look(b, w);
    visit(i, column, v, w);
  };
#pragma unroll
  for (int i = 0; i < N; ++i) visit_packs(first.held(i), second.held(i), i);
  if constexpr (N == 0) {
    for (int i = 0; place.any_at(place.column(i)); i += 2) {
      const Pack<T, W> a[2] = {first.take(i), first.take(i + 1)};
      const Pack<U, W> b[2] = {second.take(i), second.take(i + 1)};
      visit_packs(a[0], b[0], i);
      visit_packs(a[1], b[1], i + 1);
    }
  }
}

// Elements of any float dtype, from column 0 of a row on.
struct AnyRow {
  const void* data = nullptr;
  DType dtype = DType::float32;

  __device__ AnyRow at(int64_t element) const {
    return {static_cast<const char*>(data) + element * (dtype == DType::float32 ? 4 : 2), dtype};
  }
};

template <int W>
__device__ inline void take_numbers(const AnyRow& row, const Place<W>& place, int column, float (&v)[W],
                                    bool aligned = true) {
  if (row.dtype == DType::float32)
    decode(take_pack(static_cast<const float*>(row.data), place, column, 0, aligned), v);
  else if (row.dtype == DType::bfloat16)
    decode(take_pack(static_cast<const __nv_bfloat16*>(row.data), place, column, 0, aligned), v);
  else
    decode(take_pack(static_cast<const __half*>(row.data), place, column, 0, aligned), v);
}

// Of a row that every row of another array meets, such as gamma.
template <int W>
__device__ inline void take_shared(const AnyRow& row, const Place<W>& place, int column, float (&v)[W]) {
  take_numbers(row, place, column, v, column % W == 0);
}

}  // namespace te::cuda
