// Stable sorts: which way, and its passes.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/sort/long_rows.cuh"
#include "cuda/sort/short_rows.cuh"
#include "cuda/sort/sorter.h"

namespace te::cuda {
namespace {

// Of a buffer between passes: rows that are sorted at a time hold about this many items.
constexpr int64_t kBatchItems = int64_t{1} << 24;

int64_t tiles_of(int64_t length) { return (length + kTile - 1) / kTile; }
size_t aligned(int64_t bytes) { return (static_cast<size_t>(bytes) + 63) & ~size_t{63}; }

}  // namespace

Sorter::Sorter(const AroundAxis& around, DType dtype, bool descending, int key_bits)
    : around_(around),
      dtype_(dtype),
      descending_(descending),
      passes_(key_bits > 0 ? (key_bits + 7) / 8 : static_cast<int>(dtype_bytes(dtype))),
      rows_(around.length > 0 ? around.outer * around.inner : 0),
      batch_(std::max<int64_t>(1, std::min(rows_, kBatchItems / std::max<int64_t>(1, around.length)))) {}

size_t Sorter::scratch_bytes() const {
  if (rows_ == 0 || short_rows()) return 0;
  const int64_t buffers = std::min(passes_ - 1, 2);
  return static_cast<size_t>(buffers) * 2 * aligned(batch_ * around_.length * 4) +
         aligned(batch_ * kDigits * tiles_of(around_.length) * 4);
}

void Sorter::run(const void* x, void* values, int32_t* indices, void* scratch) const {
  if (rows_ == 0) return;
  short_rows() ? run_short(x, values, indices) : run_long(x, values, indices, scratch);
}

void Sorter::run_short(const void* x, void* values, int32_t* indices) const {
  ShortRows of{rows_, around_.length, around_.inner, 0, 0};
  while (int64_t{1} << of.padded_bits < around_.length) ++of.padded_bits;
  // 1024 items in a block where there are that many, at least 64.
  const auto count = [&] { return 1 << (of.padded_bits + of.together_bits); };
  while (count() < 64 || (count() < 1024 && int64_t{1} << of.together_bits < rows_)) ++of.together_bits;
  const int64_t blocks = (rows_ + (int64_t{1} << of.together_bits) - 1) >> of.together_bits;
  launch("sort", sort_short,
         {dim3(static_cast<unsigned>(blocks)), dim3(static_cast<unsigned>(std::min(512, count() / 2))),
          static_cast<size_t>(count()) * sizeof(uint64_t)},
         x, values, indices, of, Order(dtype_, descending_));
}

void Sorter::run_long(const void* x, void* values, int32_t* indices, void* scratch) const {
  const Order order(dtype_, descending_);
  char* next = static_cast<char*>(scratch);
  const auto take = [&](int64_t numbers) {
    char* const taken = next;
    next += aligned(numbers * 4);
    return taken;
  };
  Items buffers[2] = {};
  for (int b = 0; b < std::min(passes_ - 1, 2); ++b)
    buffers[b] = {reinterpret_cast<uint32_t*>(take(batch_ * around_.length)),
                  reinterpret_cast<int32_t*>(take(batch_ * around_.length))};
  const int64_t tiles = tiles_of(around_.length);
  LongRows of{x, values, indices, 0, around_.length, around_.inner, static_cast<int>(tiles), nullptr};
  of.counts = reinterpret_cast<uint32_t*>(take(batch_ * kDigits * tiles));
  for (; of.first_row < rows_; of.first_row += batch_) {
    const unsigned rows = static_cast<unsigned>(std::min(batch_, rows_ - of.first_row));
    const Launch of_tiles{dim3(rows * static_cast<unsigned>(tiles)), dim3(kTileThreads)};
    Items from{};
    for (int pass = 0; pass < passes_; ++pass) {
      const Items to = pass + 1 < passes_ ? buffers[pass % 2] : Items{};
      launch("sort: count", count_digits, of_tiles, of, order, from, 8 * pass);
      launch("sort: add", add_counts, {dim3(rows), dim3(1024)}, of);
      launch("sort: move", move_items, of_tiles, of, order, from, to, 8 * pass);
      from = to;
    }
  }
}

}  // namespace te::cuda
