// sort(x){axis, descending} → (values, indices). Stable; NaN comes last either way; -0 equals 0.
// Every element becomes a 32-bit key whose order as an unsigned number is the wanted one. Rows of (key, index), no two
// of which are equal, go through a sorting network; long ones are sorted by the digits of the key, lowest first, which
// keeps the order of ties; very short ones by insertion.
#include <algorithm>
#include <bit>
#include <utility>

#include "cpu/index.h"
#include "cpu/rows.h"
#include "cpu/sort_network.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Up to where a network has fewer steps than the passes over the digits.
constexpr int64_t kShort = 16, kNetwork = kItems >= 8 ? 8192 : kItems >= 4 ? 2048 : 256;

constexpr int kDigitBits = 11, kDigits = 3;
constexpr uint32_t kDigitValues = 1u << kDigitBits;

inline uint32_t float_key(float x, bool descending) {
  const uint32_t u = std::bit_cast<uint32_t>(x == 0.0f ? 0.0f : x);
  const uint32_t ordered = u ^ (u >> 31 ? 0xffffffffu : 0x80000000u), key = descending ? ~ordered : ordered;
  return x != x ? 0xffffffffu : key;
}

// Key, then index.
inline Item make_item(uint32_t key, int64_t index) {
  return static_cast<Item>(key) << 32 | static_cast<uint32_t>(index);
}

inline void insertion_sort(Item* items, int64_t n) {
  for (int64_t i = 1; i < n; ++i) {
    const Item item = items[i];
    int64_t k = i;
    for (; k > 0 && items[k - 1] > item; --k) items[k] = items[k - 1];
    items[k] = item;
  }
}

// Returns where the sorted items are: `items` or `spare`.
inline Item* radix_sort(Item* items, Item* spare, uint32_t* counts, int64_t n) {
  std::fill(counts, counts + kDigits * kDigitValues, 0u);
  const auto digit = [](Item item, int d) { return (item >> (32 + d * kDigitBits)) & (kDigitValues - 1); };
  for (int64_t i = 0; i < n; ++i)
    for (int d = 0; d < kDigits; ++d) ++counts[d * kDigitValues + digit(items[i], d)];
  for (int d = 0; d < kDigits; ++d) {
    uint32_t* places = counts + d * kDigitValues;
    if (places[digit(items[0], d)] == static_cast<uint32_t>(n)) continue;  // all the same
    uint32_t sum = 0;
    for (uint32_t v = 0; v < kDigitValues; ++v) sum += std::exchange(places[v], sum);
    for (int64_t i = 0; i < n; ++i) spare[places[digit(items[i], d)]++] = items[i];
    std::swap(items, spare);
  }
  return items;
}

class Sort : public Kernel {
 public:
  Sort(const AroundAxis& x, DType dtype, bool descending)
      : x_(x),
        rows_(x.length > 0 ? x.outer * x.inner : 0),
        dtype_(dtype),
        descending_(descending),
        threads_(num_threads()) {}

  size_t scratch_bytes() const override { return static_cast<size_t>(threads_) * thread_bytes(); }

  void run(const Call& call) override {
    for_parts(rows_, parts_for_team(rows_, 8 * x_.length), [&](int64_t, int64_t begin, int64_t end) {
      char* scratch = static_cast<char*>(call.scratch) + static_cast<size_t>(worker()) * thread_bytes();
      Item* items = reinterpret_cast<Item*>(scratch);
      uint32_t* counts = reinterpret_cast<uint32_t*>(items + 2 * x_.length);
      for (int64_t row = begin; row < end; ++row) {
        const int64_t first = row / x_.inner * x_.length * x_.inner + row % x_.inner;
        read_keys(call, first, items);
        if (x_.length < kShort) {
          insertion_sort(items, x_.length);
          write_row(call, first, [=](int64_t k) { return items[k]; });
        } else if (x_.length <= kNetwork) {
          const int64_t n = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(x_.length)));
          std::fill(items + x_.length, items + n, ~Item{0});
          sort_network(items, n);
          const int shift = std::countr_zero(static_cast<uint64_t>(n / kItems));
          write_row(call, first, [=](int64_t k) { return items[(k & (n / kItems - 1)) * kItems + (k >> shift)]; });
        } else {
          const Item* sorted = radix_sort(items, items + x_.length, counts, x_.length);
          write_row(call, first, [=](int64_t k) { return sorted[k]; });
        }
      }
    });
  }

 private:
  size_t thread_bytes() const {
    return (static_cast<size_t>(2 * x_.length) * sizeof(Item) + kDigits * kDigitValues * sizeof(uint32_t) + 63) &
           ~size_t{63};
  }

  void read_keys(const Call& call, int64_t first, Item* items) const {
    constexpr int64_t kPiece = 256;
    float row[kPiece];
    uint32_t codes[kPiece];
    if (is_integer(dtype_)) {
      for (int64_t k = 0; k < x_.length; ++k) items[k] = make_item(integer_key(call, first + k * x_.inner), k);
      return;
    }
    for (int64_t k = 0; k < x_.length; k += kPiece) {
      const int64_t n = std::min(kPiece, x_.length - k);
      load_row(dtype_, codes_in(call, first + k * x_.inner, n, codes), n, row);
      for (int64_t i = 0; i < n; ++i) items[k + i] = make_item(float_key(row[i], descending_), k + i);
    }
  }

  // n numbers along the axis from element `first` on, side by side.
  const void* codes_in(const Call& call, int64_t first, int64_t n, uint32_t* buffer) const {
    if (x_.inner == 1) return at(dtype_, call.in[0], first);
    const auto gather = [&]<class T>(T* to) {
      for (int64_t i = 0; i < n; ++i) to[i] = call.input<T>(0)[first + i * x_.inner];
    };
    dtype_bytes(dtype_) == 4   ? gather(buffer)
    : dtype_bytes(dtype_) == 2 ? gather(reinterpret_cast<uint16_t*>(buffer))
                               : gather(reinterpret_cast<uint8_t*>(buffer));
    return buffer;
  }

  uint32_t integer_key(const Call& call, int64_t element) const {
    const void* x = at(dtype_, call.in[0], element);
    uint32_t key;
    if (dtype_bytes(dtype_) == 1) {
      key = *static_cast<const uint8_t*>(x);
    } else {
      key = *static_cast<const uint32_t*>(x) ^ (dtype_ == DType::int32 ? 0x80000000u : 0u);
    }
    return descending_ ? ~key : key;
  }

  template <class T, class At>
  void write_values(const Call& call, int64_t first, const At& item) const {
    const T* from = call.input<T>(0) + first;
    T* to = call.output<T>(0) + first;
    int32_t* indices = call.output<int32_t>(1) + first;
    for (int64_t k = 0; k < x_.length; ++k) {
      const int64_t index = static_cast<uint32_t>(item(k));
      to[k * x_.inner] = from[index * x_.inner];
      indices[k * x_.inner] = static_cast<int32_t>(index);
    }
  }

  // item(k): the k-th of the sorted row.
  template <class At>
  void write_row(const Call& call, int64_t first, const At& item) const {
    switch (dtype_bytes(dtype_)) {
      case 1:
        return write_values<uint8_t>(call, first, item);
      case 2:
        return write_values<uint16_t>(call, first, item);
      default:
        return write_values<uint32_t>(call, first, item);
    }
  }

  AroundAxis x_;
  int64_t rows_;  // none where they hold nothing
  DType dtype_;
  bool descending_;
  int threads_;
};

std::unique_ptr<Kernel> prepare_sort(const Node& node, std::string* why) {
  if (!node.params.only({"axis", "descending"}, why)) return nullptr;
  AroundAxis around;
  if (!around_axis(node.inputs[0].shape, node.params.integer("axis"), &around, why)) return nullptr;
  if (around.length > INT32_MAX) return decline(why, "an axis longer than an index");
  return std::make_unique<Sort>(around, node.inputs[0].dtype, node.params.flag("descending"));
}

}  // namespace
TE_KERNEL(sort, prepare_sort);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
