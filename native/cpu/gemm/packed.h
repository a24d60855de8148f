// Large products (GEMM): parts of A and B are packed for the cache and multiplied tile by tile.
//
// Each thread computes blocks of the result on its own, without waiting for another. Packing converts to the format of
// the arithmetic (float32, or bfloat16 where the processor multiplies that) and undoes every transposition, so that all
// layouts and formats run at the speed of the best one.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>

#include "cpu/gemm/bfloat16_unit.h"
#include "cpu/gemm/blocking.h"
#include "cpu/gemm/epilogue.h"
#include "cpu/gemm/float_tile.h"
#include "cpu/gemm/pack.h"
#include "cpu/gemm/tile.h"
#include "plan/dot_dims.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class PackedGemm {
 public:
  void plan(const DotDims& dims, const Epilogue& epilogue, int threads) {
    dims_ = dims;
    epilogue_ = epilogue;
    unit_ = exact_in_bfloat16(dims.a.dtype) && exact_in_bfloat16(dims.b.dtype) ? bfloat16_unit() : nullptr;
    const DType operands = unit_ ? DType::bfloat16 : DType::float32;
    element_ = static_cast<int64_t>(dtype_bytes(operands));
    // Of an odd depth the unit wants a zero more.
    a_in_place_ = dims_.a.dtype == operands && dims_.a.inner_step == 1 && (!unit_ || dims_.k % 2 == 0);
    direct_ = epilogue_.result == DType::float32;
    unit_rounds_ = unit_ && unit_->rounds && epilogue_.result == DType::bfloat16;
    const TileLimits& limits = unit_ ? kBfloat16Limits : kFloatLimits;
    const double pack_a = a_in_place_ ? 0 : dims_.a.inner_step == 1 ? limits.pack_rows : limits.pack_columns;
    blocking_ = choose_blocking(
        {dims_.batches(), dims_.m, dims_.n, dims_.k, threads, element_, pack_a, limits.pack_panels, !direct_}, limits);
    threads_ = static_cast<int>(std::min<int64_t>(threads, blocking_.blocks()));
    plan_scratch();
  }

  int64_t scratch_bytes() const { return thread_bytes_ * threads_; }
  // See Kernel::path.
  std::string path() const { return unit_ ? std::string("packed bfloat16 ") + unit_->name : "packed float32"; }

  void run(const GemmCall& call) const {
    const auto blocks = [&](int64_t begin, int64_t end) {
      for (int64_t block = begin; block < end; ++block) run_block(call, block);
    };
    parallel_for(blocking_.blocks(), 1, blocks, threads_);
  }

 private:
  PanelLayout panels(int64_t depth, int64_t columns) const {
    if (unit_) return {kPairPanel, round_up_to(depth, 2), 2, divide_up(columns, kPairPanel)};
    return {kPanel, depth, 1, divide_up(columns, kPanel)};
  }

  void plan_scratch() {
    const bool deep = blocking_.depth.pieces() > 1;
    const int64_t block_rows = blocking_.block_rows.unit * blocking_.rows.unit;
    const int64_t block_columns = blocking_.block_columns.unit * blocking_.columns.unit;
    a_row_ = a_in_place_ ? dims_.a.outer_step : round_up_to(blocking_.depth.unit, 2) + 64 / element_;
    sums_row_ = direct_ ? dims_.n : deep ? block_columns : blocking_.columns.unit;
    Layout layout;
    a_at_ = layout.take(a_in_place_ ? 0 : block_rows * a_row_ * element_);
    b_at_ = layout.take(panels(blocking_.depth.unit, blocking_.columns.unit).size() * element_);
    sums_at_ = layout.take(direct_ ? 0 : (deep ? block_rows : blocking_.rows.unit) * sums_row_ * 4);
    bias_at_ = layout.take(epilogue_.biased ? block_columns * 4 : 0);
    thread_bytes_ = round_up_to(layout.end(), 4096) + 64 * 5;  // they do not start at the same place of a page
  }

  DotView view(const DotOperand& operand, const void* data, int64_t batch) const {
    int64_t offset = 0;
    for (size_t i = dims_.batch.size(); i-- > 0; batch /= dims_.batch[i])
      offset += batch % dims_.batch[i] * operand.batch_steps[i];
    return {operand.dtype, static_cast<const char*>(data) + offset * static_cast<int64_t>(dtype_bytes(operand.dtype)),
            operand.outer_step, operand.inner_step};
  }

  void run_block(const GemmCall& call, int64_t block) const {
    const Cut &rows = blocking_.rows, &columns = blocking_.columns, &depth = blocking_.depth;
    const int64_t across = blocking_.block_columns.pieces(), down = blocking_.block_rows.pieces();
    const int64_t batch = block / (across * down), block_row = block / across % down, block_column = block % across;
    const int64_t row_begin = block_row * blocking_.block_rows.unit,
                  row_end = row_begin + blocking_.block_rows.size(block_row);
    const int64_t column_begin = block_column * blocking_.block_columns.unit;
    const int64_t column_end = column_begin + blocking_.block_columns.size(block_column);
    char* base = call.scratch + worker() * thread_bytes_;
    float* bias = reinterpret_cast<float*>(base + bias_at_);
    const int64_t first_column = column_begin * columns.unit;
    epilogue_.load_bias(call.bias, first_column, std::min(columns.length, column_end * columns.unit) - first_column,
                        bias);
    const DotView a = view(dims_.a, call.a, batch), b = view(dims_.b, call.b, batch);
    char* result = call.result + batch * dims_.m * dims_.n * epilogue_.result_bytes();
    const int64_t first_row = row_begin * rows.unit,
                  block_rows = std::min(rows.length, row_end * rows.unit) - first_row;
    for (int64_t k = 0; k < depth.pieces(); ++k) {
      DotView left = a.from(first_row, k * depth.unit);
      if (!a_in_place_) {
        pack_left(left, block_rows, depth.size(k), unit_ != nullptr, base + a_at_, a_row_);
        left.data = base + a_at_;
      }
      for (int64_t j = column_begin; j < column_end; ++j) {
        const int64_t column = j * columns.unit;
        const PanelLayout layout = panels(depth.size(k), columns.size(j));
        pack_right(b.from(column, k * depth.unit), depth.size(k), columns.size(j), layout, base + b_at_);
        for (int64_t i = row_begin; i < row_end; ++i) {
          const int64_t row = i * rows.unit;
          char* to = result + (row * dims_.n + column) * epilogue_.result_bytes();
          float* sums = direct_ ? reinterpret_cast<float*>(to) : reinterpret_cast<float*>(base + sums_at_);
          if (!direct_ && depth.pieces() > 1) sums += (row - first_row) * sums_row_ + (column - first_column);
          const float* bias_here = bias + (column - first_column);
          const bool is_last = k + 1 == depth.pieces(), is_rounded = is_last && unit_rounds_;
          multiply(rows.size(i), columns.size(j), layout, depth.size(k),
                   left.data + (row - first_row) * a_row_ * element_, base + b_at_, sums, k > 0,
                   is_rounded ? rounding(to, call.scale, bias_here) : Rounding{});
          if (is_last && !is_rounded) store_tile(rows.size(i), columns.size(j), call.scale, bias_here, sums, to);
        }
      }
    }
  }

  void multiply(int64_t rows, int64_t columns, const PanelLayout& layout, int64_t depth, const char* a, const char* b,
                float* sums, bool add, const Rounding& rounding) const {
    if (unit_)
      unit_->multiply({rows, columns, depth, reinterpret_cast<const uint16_t*>(a), a_row_,
                       reinterpret_cast<const uint16_t*>(b), layout.width * layout.depth, sums, sums_row_, add,
                       rounding});
    else
      FloatTile{rows, columns,   depth, reinterpret_cast<const float*>(a), a_row_, reinterpret_cast<const float*>(b),
                sums, sums_row_, add}
          .multiply();
  }

  Rounding rounding(char* to, float scale, const float* bias) const {
    return {reinterpret_cast<uint16_t*>(to), dims_.n, epilogue_.scaled ? scale : 1.0f,
            epilogue_.biased ? bias : nullptr};
  }

  void store_tile(int64_t rows, int64_t columns, float scale, const float* bias, float* sums, char* to) const {
    if (direct_ && epilogue_.nothing()) return;
    for (int64_t i = 0; i < rows; ++i, sums += sums_row_, to += dims_.n * epilogue_.result_bytes()) {
      epilogue_.apply(sums, columns, scale, bias, false);
      if (!direct_) store_row(epilogue_.result, sums, columns, to);
    }
  }

  DotDims dims_;
  Epilogue epilogue_;
  Blocking blocking_;
  const Bfloat16Unit* unit_ = nullptr;  // that multiplies, or float32 does
  bool a_in_place_ = false;
  bool direct_ = false;       // sums are made where the result belongs
  bool unit_rounds_ = false;  // and stores the result
  int threads_ = 1;
  int64_t element_ = 4, a_row_ = 0, sums_row_ = 0;
  int64_t a_at_ = 0, b_at_ = 0, sums_at_ = 0, bias_at_ = 0, thread_bytes_ = 0;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
