// scatter_add(indices, updates){axis, size} → y: zeros, y[.., indices[i], ..] += updates[.., i, ..], the adjoint of
// take. The updates are first listed by the row they go to. Each row of y is then summed by one thread, in the order of
// the updates and in double, and written once: the result does not depend on the number of threads.
#include <algorithm>

#include "cpu/index.h"
#include "cpu/rows.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class ScatterAdd : public Kernel {
 public:
  ScatterAdd(const AroundAxis& y, int64_t indices, DType dtype) : y_(y), indices_(indices), dtype_(dtype) {}

  // Where each row's updates begin in the list, and the list.
  size_t scratch_bytes() const override { return static_cast<size_t>(y_.length + 1 + indices_) * sizeof(int32_t); }

  void run(const Call& call) override {
    const int32_t* indices = call.input<int32_t>(0);
    check_indices("scatterAdd", indices, indices_, y_.length);
    int32_t* begins = static_cast<int32_t*>(call.scratch);
    int32_t* list = begins + y_.length + 1;
    list_by_row(indices, begins, list);
    const RowWriter writer(dtype_, call.out[0], y_.outer * y_.length * y_.inner);
    // Threads share the columns where rows are wide (one row may have all the updates), otherwise the rows.
    const int64_t columns = std::min<int64_t>(num_threads(), y_.inner / 64);
    if (columns > 1) {
      for_parts(y_.inner, columns, [&](int64_t, int64_t first, int64_t last) {
        add_rows(call, writer, begins, list, 0, y_.length, first, last);
      });
    } else {
      const int64_t weight = y_.length + indices_;
      for_parts(weight, parts_for_team(weight, y_.inner * y_.outer), [&](int64_t, int64_t first, int64_t last) {
        add_rows(call, writer, begins, list, row_at(begins, first), row_at(begins, last), 0, y_.inner);
      });
    }
  }

 private:
  static constexpr int64_t kPiece = 512;

  void list_by_row(const int32_t* indices, int32_t* begins, int32_t* list) const {
    std::fill(begins, begins + y_.length + 1, 0);
    for (int64_t i = 0; i < indices_; ++i) ++begins[indices[i] + 1];
    for (int64_t row = 0; row < y_.length; ++row) begins[row + 1] += begins[row];
    for (int64_t i = 0; i < indices_; ++i) list[begins[indices[i]]++] = static_cast<int32_t>(i);
    for (int64_t row = y_.length; row > 0; --row) begins[row] = begins[row - 1];
    begins[0] = 0;
  }

  // The first row before which rows and updates together number at least `weight`.
  int64_t row_at(const int32_t* begins, int64_t weight) const {
    int64_t low = 0, high = y_.length;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (middle + begins[middle] < weight) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  void add_rows(const Call& call, const RowWriter& writer, const int32_t* begins, const int32_t* list,
                int64_t first_row, int64_t last_row, int64_t first, int64_t last) const {
    for (int64_t outer = 0; outer < y_.outer; ++outer)
      for (int64_t row = first_row; row < last_row; ++row)
        for (int64_t column = first; column < last; column += kPiece) {
          const int64_t n = std::min(kPiece, last - column), to = (outer * y_.length + row) * y_.inner + column;
          const int64_t from = outer * indices_ * y_.inner + column;
          const int32_t *begin = list + begins[row], *end = list + begins[row + 1];
          if (is_float(dtype_)) {
            add_floats(call, writer, begin, end, from, to, n);
          } else if (dtype_ == DType::uint8) {
            add_integers<uint8_t>(call, begin, end, from, to, n);
          } else {
            add_integers<uint32_t>(call, begin, end, from, to, n);
          }
        }
    writer.finish();
  }

  void add_floats(const Call& call, const RowWriter& writer, const int32_t* begin, const int32_t* end, int64_t from,
                  int64_t to, int64_t n) const {
    alignas(64) static constexpr float kZeros[kPiece] = {};
    alignas(64) float decoded[kPiece];
    alignas(64) double sums[kPiece];
    if (begin == end) return writer.done(kZeros, n, to);
    if (begin + 1 == end) return writer.done(row_in(dtype_, call.in[1], from + *begin * y_.inner, n, decoded), n, to);
    std::fill_n(sums, n, 0.0);
    for (const int32_t* i = begin; i < end; ++i) {
      const float* x = row_in(dtype_, call.in[1], from + *i * y_.inner, n, decoded);
#pragma omp simd
      for (int64_t k = 0; k < n; ++k) sums[k] += static_cast<double>(x[k]);
    }
#pragma omp simd
    for (int64_t k = 0; k < n; ++k) decoded[k] = static_cast<float>(sums[k]);
    writer.done(decoded, n, to);
  }

  template <class T>
  void add_integers(const Call& call, const int32_t* begin, const int32_t* end, int64_t from, int64_t to,
                    int64_t n) const {
    T* sums = call.output<T>(0) + to;
    std::fill_n(sums, n, T{0});
    for (const int32_t* i = begin; i < end; ++i) {
      const T* x = call.input<T>(1) + from + *i * y_.inner;
      for (int64_t k = 0; k < n; ++k) sums[k] = static_cast<T>(sums[k] + x[k]);
    }
  }

  AroundAxis y_;
  int64_t indices_;
  DType dtype_;
};

std::unique_ptr<Kernel> prepare_scatter_add(const Node& node, std::string* why) {
  if (!node.params.only({"axis", "size"}, why)) return nullptr;
  const Aval &indices = node.inputs[0], &updates = node.inputs[1], &y = node.outputs[0];
  AroundAxis around;
  if (!around_axis(y.shape, node.params.integer("axis"), &around, why)) return nullptr;
  const bool known = is_float(y.dtype) || (is_integer(y.dtype) && y.dtype != DType::boolean);
  if (!known || updates.dtype != y.dtype) return decline(why, std::string("dtype ") + dtype_name(updates.dtype));
  if (indices.dtype != DType::int32 || indices.size() > INT32_MAX ||
      updates.size() != around.outer * indices.size() * around.inner)
    return decline(why, "indices that do not fit the updates");
  return std::make_unique<ScatterAdd>(around, indices.size(), y.dtype);
}

}  // namespace
TE_KERNEL(scatter_add, prepare_scatter_add);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
