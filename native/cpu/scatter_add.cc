// scatter_add(indices, updates){axis, size} → y: zeros, y[.., indices[i], ..] += updates[.., i, ..], the adjoint of take.
// Threads own columns of y, so that every sum runs in index order: the result does not depend on the number of threads.
#include <algorithm>

#include "cpu/convert.h"
#include "cpu/index.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

constexpr int64_t kColumns = 256;

class ScatterAdd : public Kernel {
 public:
  ScatterAdd(const AroundAxis& y, int64_t indices, DType dtype) : y_(y), indices_(indices), dtype_(dtype) {}

  // float32 sums of narrow floats.
  size_t scratch_bytes() const override {
    const bool narrow = dtype_ == DType::bfloat16 || dtype_ == DType::float16;
    return narrow ? static_cast<size_t>(y_.outer * y_.length * y_.inner) * sizeof(float) : 0;
  }

  void run(const Call& call) override {
    const int32_t* indices = call.input<int32_t>(0);
    check_indices("scatter_add", indices, indices_, y_.length);
    switch (dtype_) {
      case DType::float32: return add<float>(indices, call.in[1], call.output<float>(0));
      case DType::int32:
      case DType::uint32: return add<uint32_t>(indices, call.in[1], call.output<uint32_t>(0));
      case DType::uint8: return add<uint8_t>(indices, call.in[1], call.output<uint8_t>(0));
      default: {
        float* sums = static_cast<float*>(call.scratch);
        add<float>(indices, call.in[1], sums);
        const size_t width = dtype_bytes(dtype_);
        parallel_for(y_.outer * y_.length * y_.inner, 1 << 14, [&](int64_t begin, int64_t end) {
          store_row(dtype_, sums + begin, end - begin, call.output<char>(0) + static_cast<size_t>(begin) * width);
        });
      }
    }
  }

 private:
  template <class T>
  void add(const int32_t* indices, const void* updates, T* out) const {
    const int64_t blocks = (y_.inner + kColumns - 1) / kColumns;
    const size_t width = dtype_bytes(dtype_);
    parallel_for(y_.outer * blocks, 1, [&](int64_t begin, int64_t end) {
      T row[kColumns];
      for (int64_t item = begin; item < end; ++item) {
        const int64_t outer = item / blocks, first = (item % blocks) * kColumns;
        const int64_t n = std::min(kColumns, y_.inner - first);
        T* to = out + outer * y_.length * y_.inner + first;
        for (int64_t k = 0; k < y_.length; ++k) std::fill_n(to + k * y_.inner, n, T{0});
        for (int64_t i = 0; i < indices_; ++i) {
          const int64_t at = (outer * indices_ + i) * y_.inner + first;
          const char* from = static_cast<const char*>(updates) + static_cast<size_t>(at) * width;
          const T* values = row;
          if constexpr (std::is_same_v<T, float>) {
            if (dtype_ == DType::float32) values = reinterpret_cast<const float*>(from);
            else load_row(dtype_, from, n, row);
          } else {
            values = reinterpret_cast<const T*>(from);
          }
          T* sum = to + indices[i] * y_.inner;
#pragma omp simd
          for (int64_t k = 0; k < n; ++k) sum[k] = static_cast<T>(sum[k] + values[k]);
        }
      }
    });
  }

  AroundAxis y_;
  int64_t indices_;
  DType dtype_;
};

std::unique_ptr<Kernel> prepare_scatter_add(const Node& node, std::string* why) {
  if (!node.params.only({"axis", "size"}, why)) return nullptr;
  const Aval &indices = node.inputs[0], &y = node.outputs[0];
  AroundAxis around;
  if (!around_axis(y.shape, node.params.integer("axis"), &around, why)) return nullptr;
  const bool known = y.dtype == DType::float32 || y.dtype == DType::bfloat16 || y.dtype == DType::float16 ||
                     y.dtype == DType::int32 || y.dtype == DType::uint32 || y.dtype == DType::uint8;
  if (!known || indices.dtype != DType::int32 || node.inputs[1].size() != around.outer * indices.size() * around.inner) {
    *why = "dtype or sizes that do not fit";
    return nullptr;
  }
  return std::make_unique<ScatterAdd>(around, indices.size(), y.dtype);
}

}  // namespace
TE_KERNEL(scatter_add, prepare_scatter_add);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
