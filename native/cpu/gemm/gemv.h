// Products of a few rows (gemv, for one row or column) and small ones: some rows at a time against B as it lies in
// memory (gemv_loops.h).
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/gemm/blocking.h"
#include "cpu/gemm/epilogue.h"
#include "cpu/gemm/gemv_loops.h"
#include "plan/dot_dims.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// The loops for B of this dtype.
inline const GemvUnit* gemv_unit(DType b) {
#if defined(__AVX512BW__)
  if (const GemvUnit* unit = avx512_vbmi_gemv(); unit && b == DType::float8_e4m3fn) return unit;
#endif
  const GemvUnit* unit = nullptr;
  with_format(b, [&]<DType T>() { unit = &kGemvUnit<T>; });
  return unit;
}

class Gemv {
 public:
  // `swapped`: the dims are those of the transposed product, so the result is stored column by column.
  void plan(const DotDims& dims, const Epilogue& epilogue, bool swapped, int threads) {
    dims_ = dims;
    epilogue_ = epilogue;
    swapped_ = swapped;
    // A product of few rows reads B once, as it is. Otherwise only rows that need little conversion are read in place.
    const bool wide = dims.b.outer_step == 1;
    const bool cheap = dims.b.dtype == DType::float32 || dims.b.dtype == DType::bfloat16;
    b_in_place_ = dims.m <= kGemvGroup || (wide && cheap);
    deep_ = b_in_place_ && !wide;
    a_in_place_ = !deep_ && dims.a.dtype == DType::float32 && dims.a.inner_step == 1;
    unit_ = gemv_unit(b_in_place_ ? dims.b.dtype : DType::float32);
    a_row_ = a_in_place_ ? dims.a.outer_step : round_up_to(dims.k, kGemvStep);
    rows_ = cut_evenly(dims.m, kRows, kGemvGroup);
    // Rows of B lie apart where they are deep: a strip of them can be narrow.
    const int64_t strips = deep_ && threads > 1 ? 4 * threads : threads;
    const int64_t share = dims.batches() >= strips ? dims.n : divide_up(dims.n, strips);
    columns_ = cut_evenly(dims.n, std::clamp<int64_t>(share, 64, kColumns), 64);
    sums_row_ = round_up_to(columns_.unit, kGemvStep);
    threads_ = static_cast<int>(std::min<int64_t>(threads, items()));
    Layout layout;
    a_at_ = layout.take(a_in_place_ ? 0 : rows_.unit * a_row_ * 4);
    b_at_ = layout.take(b_in_place_ ? 0 : dims.k * sums_row_ * 4);
    sums_at_ = layout.take(round_up_to(rows_.unit, kGemvGroup) * sums_row_ * 4);
    bias_at_ = layout.take(epilogue.biased ? (swapped ? dims.m : columns_.unit) * 4 : 0);
    thread_bytes_ = layout.end();
  }

  int64_t scratch_bytes() const { return thread_bytes_ * threads_; }

  void run(const GemmCall& call) const {
    parallel_for(
        items(), 1, [&](int64_t begin, int64_t end) { run_items(call, begin, end); }, threads_);
  }

 private:
  static constexpr int64_t kRows = 64, kColumns = 512;

  int64_t items() const { return dims_.batches() * columns_.pieces() * rows_.pieces(); }

  DotView view(const DotOperand& operand, const void* data, int64_t batch) const {
    int64_t offset = 0;
    for (size_t i = dims_.batch.size(); i-- > 0; batch /= dims_.batch[i])
      offset += batch % dims_.batch[i] * operand.batch_steps[i];
    return {operand.dtype, static_cast<const char*>(data) + offset * static_cast<int64_t>(dtype_bytes(operand.dtype)),
            operand.outer_step, operand.inner_step};
  }

  void run_items(const GemmCall& call, int64_t begin, int64_t end) const {
    char* base = call.scratch + worker() * thread_bytes_;
    float* bias = reinterpret_cast<float*>(base + bias_at_);
    DotView right{};
    int64_t held = -1;  // the columns, of all batches in turn, that `right` and `bias` belong to
    for (int64_t item = begin; item < end; ++item) {
      const int64_t i = item % rows_.pieces(), strip = item / rows_.pieces();
      const int64_t batch = strip / columns_.pieces(), j = strip % columns_.pieces();
      const int64_t row = i * rows_.unit, column = j * columns_.unit;
      if (strip != held) {
        right = view(dims_.b, call.b, batch).from(column, 0);
        if (!b_in_place_) {
          pack_right(right, dims_.k, columns_.size(j), {sums_row_, dims_.k, 1, 1}, base + b_at_);
          right = {DType::float32, base + b_at_, 1, sums_row_};
        }
        epilogue_.load_bias(call.bias, swapped_ ? 0 : column, swapped_ ? dims_.m : columns_.size(j), bias);
        held = strip;
      }
      DotView left = view(dims_.a, call.a, batch).from(row, 0);
      if (!a_in_place_) {
        load_left(left, rows_.size(i), reinterpret_cast<float*>(base + a_at_));
        left.data = base + a_at_;
      }
      char* result = call.result + batch * dims_.m * dims_.n * epilogue_.result_bytes();
      multiply(left, right, rows_.size(i), columns_.size(j), reinterpret_cast<float*>(base + sums_at_));
      store_tile(base, row, column, rows_.size(i), columns_.size(j), call.scale, bias, result);
    }
  }

  // Rows of A as floats, in the way that the loops want them.
  void load_left(const DotView& left, int64_t rows, float* to) const {
    pack_left(left, rows, dims_.k, false, to, a_row_);
    for (int64_t i = 0; i < rows; ++i, to += a_row_) {
      if (unit_->scale != 1)  // float8 meets float8, which is not in place
        for (int64_t k = 0; k < dims_.k; ++k) to[k] *= unit_->scale;
      if (!deep_) continue;
      std::fill(to + dims_.k, to + a_row_, 0.0f);
      unit_->arrange_row(to, dims_.k);
    }
  }

  void multiply(const DotView& left, const DotView& right, int64_t rows, int64_t columns, float* sums) const {
    const float* a = reinterpret_cast<const float*>(left.data);
    const auto product = deep_ ? unit_->deep : unit_->wide;
    const int64_t b_step = deep_ ? right.outer_step : right.inner_step;
    for (int64_t row = 0; row < rows; row += kGemvGroup)
      product({std::min(kGemvGroup, rows - row), columns, dims_.k, a + row * a_row_, a_row_, right.data, b_step,
               sums + row * sums_row_, sums_row_});
  }

  void store_tile(char* base, int64_t row, int64_t column, int64_t rows, int64_t columns, float scale,
                  const float* bias, char* result) const {
    float* sums = reinterpret_cast<float*>(base + sums_at_);
    for (int64_t i = 0; i < rows; ++i, sums += sums_row_) {
      epilogue_.apply(sums, columns, scale, swapped_ ? bias + row + i : bias, swapped_);
      if (!swapped_) {
        store_row(epilogue_.result, sums, columns, result + ((row + i) * dims_.n + column) * epilogue_.result_bytes());
        continue;
      }
      char* to = result + (column * dims_.m + row + i) * epilogue_.result_bytes();
      epilogue_.result == DType::float32 ? store_column<uint32_t>(sums, columns, to)
                                         : store_column<uint16_t>(sums, columns, to);
    }
  }

  // A row of sums as a column of the transposed result.
  template <class Code>
  void store_column(const float* sums, int64_t n, char* to) const {
    Code codes[kColumns];
    store_row(epilogue_.result, sums, n, codes);
    for (int64_t j = 0; j < n; ++j) reinterpret_cast<Code*>(to)[j * dims_.m] = codes[j];
  }

  DotDims dims_;
  Epilogue epilogue_;
  Cut rows_, columns_;
  bool swapped_ = false, deep_ = false, a_in_place_ = false, b_in_place_ = false;
  int threads_ = 1;
  const GemvUnit* unit_ = nullptr;
  int64_t a_row_ = 0, sums_row_ = 0;
  int64_t a_at_ = 0, b_at_ = 0, sums_at_ = 0, bias_at_ = 0, thread_bytes_ = 0;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
