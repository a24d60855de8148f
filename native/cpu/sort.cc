// te: once
// sort(x){axis, descending} → (values, indices). Stable; NaN comes last either way.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/convert.h"
#include "cpu/index.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// A key that orders as its element does: every dtype but float64 fits a double.
struct Item {
  double key;
  int32_t index;
};

class Sort : public Kernel {
 public:
  Sort(const AroundAxis& x, DType dtype, bool descending) : x_(x), dtype_(dtype), descending_(descending) {}

  size_t scratch_bytes() const override {
    return static_cast<size_t>(num_threads()) * 2 * static_cast<size_t>(x_.length) * sizeof(Item);
  }

  void run(const Call& call) override {
    const int64_t rows = x_.outer * x_.inner, pieces = std::min<int64_t>(num_threads(), rows);
    parallel_for(pieces, 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) {
        Item* items = static_cast<Item*>(call.scratch) + piece * 2 * x_.length;
        for (int64_t row = rows * piece / pieces; row < rows * (piece + 1) / pieces; ++row) sort_row(call, row, items);
      }
    });
  }

 private:
  double key(const void* x, int64_t at) const {
    switch (dtype_) {
      case DType::int32: return static_cast<const int32_t*>(x)[at];
      case DType::uint32: return static_cast<const uint32_t*>(x)[at];
      case DType::uint8:
      case DType::boolean: return static_cast<const uint8_t*>(x)[at];
      default: {
        float value;
        load_row(dtype_, static_cast<const char*>(x) + static_cast<size_t>(at) * dtype_bytes(dtype_), 1, &value);
        return static_cast<double>(value);
      }
    }
  }

  bool before(const Item& a, const Item& b) const {
    if (std::isnan(a.key)) return false;
    if (std::isnan(b.key)) return true;
    return descending_ ? a.key > b.key : a.key < b.key;
  }

  // Merge sort in place of std::stable_sort, which allocates.
  void merge_sort(Item* items, Item* spare) const {
    for (int64_t width = 1; width < x_.length; width *= 2) {
      for (int64_t start = 0; start < x_.length; start += 2 * width) {
        const int64_t middle = std::min(start + width, x_.length), end = std::min(start + 2 * width, x_.length);
        std::merge(items + start, items + middle, items + middle, items + end, spare + start,
                   [&](const Item& a, const Item& b) { return before(a, b); });
      }
      std::memcpy(items, spare, static_cast<size_t>(x_.length) * sizeof(Item));
    }
  }

  void sort_row(const Call& call, int64_t row, Item* items) const {
    const int64_t first = (row / x_.inner) * x_.length * x_.inner + row % x_.inner;
    for (int64_t k = 0; k < x_.length; ++k) items[k] = {key(call.in[0], first + k * x_.inner), static_cast<int32_t>(k)};
    merge_sort(items, items + x_.length);
    const size_t width = dtype_bytes(dtype_);
    for (int64_t k = 0; k < x_.length; ++k) {
      const int64_t to = first + k * x_.inner, from = first + items[k].index * x_.inner;
      std::memcpy(call.output<char>(0) + static_cast<size_t>(to) * width,
                  call.input<char>(0) + static_cast<size_t>(from) * width, width);
      call.output<int32_t>(1)[to] = items[k].index;
    }
  }

  AroundAxis x_;
  DType dtype_;
  bool descending_;
};

std::unique_ptr<Kernel> prepare_sort(const Node& node, std::string* why) {
  if (!node.params.only({"axis", "descending"}, why)) return nullptr;
  AroundAxis around;
  if (!around_axis(node.inputs[0].shape, node.params.integer("axis"), &around, why)) return nullptr;
  if (node.inputs[0].dtype == DType::float64) {
    *why = "dtype float64";
    return nullptr;
  }
  return std::make_unique<Sort>(around, node.inputs[0].dtype, node.params.flag("descending"));
}

}  // namespace
TE_KERNEL(sort, prepare_sort);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
