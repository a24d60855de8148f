// Kernels over many tensors in one launch: a table of their pointers is a parameter of the kernel, of which there are 4
// KB.
#pragma once
#include <algorithm>
#include <cstddef>
#include <vector>

namespace te::cuda {

template <class Entry, size_t Others = 0>
struct Table {
  static constexpr size_t kLength = (4096 - 16 - Others) / sizeof(Entry);  // Others: bytes of the other parameters
  int count = 0;
  Entry entry[kLength];
};

// The entry that a block works on, where each says the `first` of its blocks: the last whose first is not behind this
// one.
template <class Entry, size_t Others>
__device__ inline const Entry& entry_of_block(const Table<Entry, Others>& table) {
  int low = 0, high = table.count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table.entry[middle].first <= blockIdx.x)
      low = middle;
    else
      high = middle - 1;
  }
  return table.entry[low];
}

// launch(table) for all entries, as many at a time as a table holds.
template <class Filled, class Entry, class Launch>
void for_tables(const std::vector<Entry>& entries, const Launch& launch) {
  for (size_t first = 0; first < entries.size(); first += Filled::kLength) {
    Filled table;
    table.count = static_cast<int>(std::min(Filled::kLength, entries.size() - first));
    std::copy_n(entries.begin() + static_cast<std::ptrdiff_t>(first), table.count, table.entry);
    launch(table);
  }
}

}  // namespace te::cuda
