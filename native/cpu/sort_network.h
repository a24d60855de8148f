// Batcher's bitonic sorting network on 64-bit items: the same exchanges whatever the items are, all of them in vectors.
// Item i of a row lies in lane i / W of vector i % W, where W is the number of vectors: items closer than W lie in the
// same lane, so that only the last few steps exchange between lanes.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <utility>

#include "cpu/simd/vector_width.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

using Item = uint64_t;
inline constexpr int kItems = kLanes / 2;  // of a vector
typedef Item ItemVector __attribute__((vector_size(kItems * sizeof(Item)), may_alias));

// Puts the smaller items of each pair into x and the larger ones into y.
inline __attribute__((always_inline)) void exchange(ItemVector& x, ItemVector& y) {
  const ItemVector low = x < y ? x : y, high = x < y ? y : x;
  x = low, y = high;
}

// The items of x whose lane has this bit from `high`, the others from `low`.
template <int kBit>
inline __attribute__((always_inline)) ItemVector by_lane(ItemVector low, ItemVector high) {
  ItemVector lane;
  for (int i = 0; i < kItems; ++i) lane[i] = static_cast<Item>(i);
  return (lane & kBit) != 0 ? high : low;
}

// Lane i of the result is lane i ^ kFlip of x.
template <int kFlip, int... kLane>
inline __attribute__((always_inline)) ItemVector flip_lanes(ItemVector x, std::integer_sequence<int, kLane...>) {
  return __builtin_shufflevector(x, x, (kLane ^ kFlip)...);
}
template <int kFlip>
inline __attribute__((always_inline)) ItemVector flip_lanes(ItemVector x) {
  return flip_lanes<kFlip>(x, std::make_integer_sequence<int, kItems>());
}

// Merges sorted runs of `half` items in one lane to runs twice as long: the first exchange is with the mirror image.
inline void merge_in_lanes(ItemVector* items, int64_t vectors, int64_t half) {
  for (int64_t run = 0; run < vectors; run += 2 * half)
    for (int64_t i = 0; i < half; ++i) exchange(items[run + i], items[run + 2 * half - 1 - i]);
  for (half /= 2; half > 0; half /= 2)
    for (int64_t run = 0; run < vectors; run += 2 * half)
      for (int64_t i = 0; i < half; ++i) exchange(items[run + i], items[run + half + i]);
}

// Exchanges of one vector with itself at lane distances kBit, kBit / 2, ... 1.
template <int kBit>
inline __attribute__((always_inline)) ItemVector settle_lanes(ItemVector x) {
  if constexpr (kBit > 0) {
    ItemVector low = x, high = flip_lanes<kBit>(x);
    exchange(low, high);
    return settle_lanes<kBit / 2>(by_lane<kBit>(low, high));
  }
  return x;
}

// Merges sorted runs of kHalf lanes to runs of twice as many.
template <int kHalf>
inline void merge_lanes(ItemVector* items, int64_t vectors) {
  for (int64_t i = 0; i < (vectors + 1) / 2; ++i) {
    ItemVector low = items[i], high = flip_lanes<2 * kHalf - 1>(items[vectors - 1 - i]);
    exchange(low, high);
    const ItemVector mirrored = flip_lanes<2 * kHalf - 1>(by_lane<kHalf>(high, low));
    items[i] = settle_lanes<kHalf / 2>(by_lane<kHalf>(low, high));
    if (vectors > 1) items[vectors - 1 - i] = settle_lanes<kHalf / 2>(mirrored);
  }
  for (int64_t half = vectors / 2; half > 0; half /= 2)
    for (int64_t run = 0; run < vectors; run += 2 * half)
      for (int64_t i = 0; i < half; ++i) exchange(items[run + i], items[run + half + i]);
  if constexpr (2 * kHalf < kItems) merge_lanes<2 * kHalf>(items, vectors);
}

// Sorts n items, which begin at a whole vector; n is a power of two and at least kItems.
inline void sort_network(Item* items, int64_t n) {
  ItemVector* vectors = reinterpret_cast<ItemVector*>(items);
  const int64_t count = n / kItems;
  for (int64_t half = 1; half < count; half *= 2) merge_in_lanes(vectors, count, half);
  merge_lanes<1>(vectors, count);
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
