// A whole product: how it is cut into tiles, who computes a tile, and what happens to the sums.
//
// An item is one tile of the result. Items are numbered batch by batch, then by columns, then by rows, and each thread
// takes one stretch of them, so that what a thread packs of B serves all the tiles below each other. No thread waits
// for another. Sums are float32; scale, bias and the one rounding follow while a tile is still in the cache.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "cpu/dot_dims.h"
#include "cpu/dot_engine.h"
#include "cpu/dot_pack.h"
#include "cpu/dot_small.h"
#include "cpu/dot_tiling.h"
#include "cpu/permute.h"
#include "te/kernel.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

struct ProductSpec {
  DotDims dims;
  DType result = DType::float32;
  bool scaled = false;
  bool biased = false;
  DType bias = DType::float32;
};

// Memory of one run.
struct ProductCall {
  const void *a, *b, *bias;
  float scale;
  void* result;
  char* scratch;
};

class Product {
 public:
  explicit Product(ProductSpec spec) : spec_(std::move(spec)), dims_(spec_.dims) {
    if (dims_.batches() * dims_.m * dims_.n == 0) return;
    copy_a_ = plan_copy(dims_.a);
    copy_b_ = plan_copy(dims_.b);
    // Few columns under many rows: the transposed product is the thin one.
    swapped_ = dims_.n <= kGroup && dims_.m > dims_.n;
    if (swapped_) {
      std::swap(dims_.a, dims_.b);
      std::swap(dims_.m, dims_.n);
    }
    const double work = 2.0 * static_cast<double>(dims_.m * dims_.n * dims_.k);
    threads_ = static_cast<int>(std::clamp(work * static_cast<double>(dims_.batches()) / kWorkPerThread, 1.0,
                                           static_cast<double>(num_threads())));
    if (dims_.m <= kGroup || work <= kSmallWork || dims_.k == 0 || !plan_packed()) plan_small();
    plan_scratch();
  }

  size_t scratch_bytes() const { return static_cast<size_t>(scratch_bytes_); }

  void run(ProductCall call) const {
    if (tiling_.items() == 0) return;
    if (dims_of_a().copy) call.a = permuted(copy_a_, call.a, call.scratch + copy_a_at_);
    if (dims_of_b().copy) call.b = permuted(copy_b_, call.b, call.scratch + copy_b_at_);
    if (swapped_) std::swap(call.a, call.b);
    parallel_for(pieces_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) run_piece(call, static_cast<int>(piece));
    });
  }

 private:
  static constexpr double kWorkPerThread = 2e6;  // operations that are worth waking a thread for
  static constexpr double kSmallWork = 2.0 * 40 * 40 * 40;

  // What a thread holds while it walks over its items.
  struct State {
    char *left, *right, *sums, *scratch;
    float* bias;
    int64_t batch = -1, column_block = -1, row_block = -1;
    DotView left_view, right_view;
  };

  const DotOperand& dims_of_a() const { return spec_.dims.a; }
  const DotOperand& dims_of_b() const { return spec_.dims.b; }

  static Permutation plan_copy(const DotOperand& operand) {
    if (!operand.copy) return {};
    return Permutation(operand.copy_shape, operand.copy_perm, dtype_bytes(operand.dtype));
  }

  static const void* permuted(const Permutation& permutation, const void* from, char* to) {
    permutation.run(from, to);
    return to;
  }

  bool plan_packed() {
    bfloat16_ = native_bfloat16() && exact_in_bfloat16(dims_.a.dtype) && exact_in_bfloat16(dims_.b.dtype);
    operands_ = bfloat16_ ? DType::bfloat16 : DType::float32;
    left_in_place_ = dims_.a.dtype == operands_ && dims_.a.inner_step == 1;
    tiling_ = choose_tiling({dims_.batches(), dims_.m, dims_.n, dims_.k, threads_, !left_in_place_});
    pieces_ = static_cast<int>(std::min<int64_t>(threads_, tiling_.items()));
    const bool plain = !spec_.scaled && !spec_.biased;
    direct_ = !swapped_ && (spec_.result == DType::float32 || (plain && bfloat16_ && spec_.result == DType::bfloat16));
    left_row_ = left_in_place_ ? dims_.a.outer_step : dims_.k + kSquare;
    sums_row_ = direct_ ? dims_.n : tiling_.columns;
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < 2; ++j) {
        const int64_t rows = i ? tiling_.last_rows() : tiling_.rows, columns = j ? tiling_.last_columns() : tiling_.columns;
        if ((i && rows == tiling_.rows) || (j && columns == tiling_.columns)) continue;
        const DType sums = direct_ ? spec_.result : DType::float32;
        tiles_[i][j] = TileProduct::create({rows, columns, dims_.k, operands_, sums, left_row_, sums_row_}, pieces_);
        if (!tiles_[i][j]) return false;
      }
    }
    return true;
  }

  void plan_small() {
    for (auto& row : tiles_)
      for (auto& tile : row) tile.reset();
    operands_ = DType::float32;
    bfloat16_ = direct_ = false;
    thin_ = dims_.m <= kGroup;
    // A thin product reads B once, as it is. Otherwise rows of float32 or bfloat16 are read in place, too.
    const bool wide = dims_.b.outer_step == 1;
    const bool cheap = dims_.b.dtype == DType::float32 || dims_.b.dtype == DType::bfloat16;
    right_in_place_ = thin_ || (wide && cheap);
    deep_ = right_in_place_ && !wide;
    tiling_ = {dims_.batches(), dims_.m, dims_.n, std::min<int64_t>(dims_.m, 64),
               small_columns(dims_.batches(), dims_.n, threads_)};
    pieces_ = static_cast<int>(std::min<int64_t>(threads_, tiling_.items()));
    left_in_place_ = dims_.a.dtype == DType::float32 && dims_.a.inner_step == 1;
    left_row_ = left_in_place_ ? dims_.a.outer_step : dims_.k;
    sums_row_ = round_up_to(tiling_.columns, kSquare);
  }

  void plan_scratch() {
    int64_t at = 0;
    const auto take = [&at](int64_t bytes) {
      const int64_t from = at;
      at += round_up_to(bytes, 64);
      return from;
    };
    const int64_t element = static_cast<int64_t>(dtype_bytes(operands_));
    int64_t right = 0, inner = 0;
    for (const auto& row : tiles_) {
      for (const auto& tile : row) {
        if (!tile) continue;
        right = std::max(right, tile->layout().size());
        inner = std::max(inner, static_cast<int64_t>(tile->scratch_bytes()));
      }
    }
    if (!tiles_[0][0] && !right_in_place_) right = dims_.k * sums_row_;
    left_at_ = take(left_in_place_ ? 0 : tiling_.rows * left_row_ * element);
    right_at_ = take(right * element);
    sums_at_ = take(direct_ ? 0 : tiling_.rows * sums_row_ * 4);
    bias_at_ = take(spec_.biased ? std::max(tiling_.columns, dims_.m) * 4 : 0);
    inner_at_ = take(inner);
    piece_bytes_ = round_up_to(at, 4096) + 64 * 5;  // pieces and their parts do not start at the same place of a page
    at = piece_bytes_ * pieces_;
    copy_a_at_ = take(dims_of_a().copy ? copied_bytes(dims_of_a()) : 0);
    copy_b_at_ = take(dims_of_b().copy ? copied_bytes(dims_of_b()) : 0);
    scratch_bytes_ = at;
  }

  static int64_t copied_bytes(const DotOperand& operand) {
    return count(operand.copy_shape) * static_cast<int64_t>(dtype_bytes(operand.dtype));
  }

  int64_t batch_offset(const DotOperand& operand, int64_t batch) const {
    int64_t offset = 0;
    for (size_t i = dims_.batch.size(); i-- > 0; batch /= dims_.batch[i])
      offset += batch % dims_.batch[i] * operand.batch_steps[i];
    return offset * static_cast<int64_t>(dtype_bytes(operand.dtype));
  }

  void run_piece(const ProductCall& call, int piece) const {
    char* base = call.scratch + piece * piece_bytes_;
    State state{base + left_at_, base + right_at_, base + sums_at_, base + inner_at_,
                reinterpret_cast<float*>(base + bias_at_), -1, -1, -1, {}, {}};
    const int64_t items = tiling_.items();
    for (int64_t item = items * piece / pieces_; item < items * (piece + 1) / pieces_; ++item) {
      const int64_t row_block = item % tiling_.row_blocks(), above = item / tiling_.row_blocks();
      const int64_t column_block = above % tiling_.column_blocks(), batch = above / tiling_.column_blocks();
      const int64_t row = row_block * tiling_.rows, column = column_block * tiling_.columns;
      const int64_t rows = std::min(tiling_.rows, dims_.m - row), columns = std::min(tiling_.columns, dims_.n - column);
      const auto& tile = tiles_[rows != tiling_.rows][columns != tiling_.columns];
      const bool new_batch = batch != state.batch;
      if (new_batch || column_block != state.column_block) take_right(call, state, tile.get(), batch, column, columns);
      if (new_batch || row_block != state.row_block) take_left(call, state, batch, row, rows);
      state.batch = batch;
      state.column_block = column_block;
      state.row_block = row_block;
      char* result = static_cast<char*>(call.result) + batch * dims_.m * dims_.n * result_bytes();
      if (direct_) {
        char* to = result + (row * dims_.n + column) * result_bytes();
        tile->run(piece, state.left_view.data, state.right, to, state.scratch);
        finish(call, state, rows, columns, reinterpret_cast<float*>(to), row, column, nullptr);
      } else {
        float* sums = reinterpret_cast<float*>(state.sums);
        if (tile)
          tile->run(piece, state.left_view.data, state.right, sums, state.scratch);
        else
          run_small(state, rows, columns, sums);
        finish(call, state, rows, columns, sums, row, column, result);
      }
    }
  }

  int64_t result_bytes() const { return static_cast<int64_t>(dtype_bytes(spec_.result)); }

  static DotView view_of(const DotOperand& operand, const void* data, int64_t offset) {
    return {operand.dtype, static_cast<const char*>(data) + offset, operand.outer_step, operand.inner_step};
  }

  void take_right(const ProductCall& call, State& state, const TileProduct* tile, int64_t batch, int64_t column,
                  int64_t columns) const {
    DotView view = view_of(dims_.b, call.b, batch_offset(dims_.b, batch));
    view.data = view.at(column, 0);
    if (right_in_place_) {
      state.right_view = view;
    } else {
      const PanelLayout layout = tile ? tile->layout() : PanelLayout{sums_row_, dims_.k, 1, 1};
      pack_right(view, dims_.k, columns, bfloat16_, layout, state.right);
      state.right_view = {DType::float32, state.right, 1, sums_row_};
    }
    if (!spec_.biased) return;
    const int64_t first = swapped_ ? 0 : column, length = swapped_ ? dims_.m : columns;
    load_row(spec_.bias, static_cast<const char*>(call.bias) + first * static_cast<int64_t>(dtype_bytes(spec_.bias)),
             length, state.bias);
  }

  void take_left(const ProductCall& call, State& state, int64_t batch, int64_t row, int64_t rows) const {
    DotView view = view_of(dims_.a, call.a, batch_offset(dims_.a, batch));
    view.data = view.at(row, 0);
    state.left_view = view;
    if (left_in_place_) return;
    pack_left(view, rows, dims_.k, bfloat16_, state.left, left_row_);
    state.left_view = {operands_, state.left, left_row_, 1};
  }

  void run_small(const State& state, int64_t rows, int64_t columns, float* sums) const {
    const float* left = reinterpret_cast<const float*>(state.left_view.data);
    for (int64_t row = 0; row < rows; row += kGroup) {
      const int64_t some = std::min(kGroup, rows - row);
      const auto product = deep_ ? deep_product : wide_product;
      product(some, left + row * left_row_, left_row_, state.right_view, dims_.k, columns, sums + row * sums_row_, sums_row_);
    }
  }

  // scale, bias and rounding of a tile. `result` is that of the batch, or nullptr when the sums lie in it already.
  void finish(const ProductCall& call, const State& state, int64_t rows, int64_t columns, float* sums, int64_t row,
              int64_t column, char* result) const {
    if (!result && !spec_.scaled && !spec_.biased) return;
    for (int64_t i = 0; i < rows; ++i, sums += sums_row_) {
      const float scale = call.scale;
      const float* __restrict bias = state.bias;
      float* __restrict x = sums;
      if (swapped_ && spec_.biased) {
        const float same = bias[row + i];
        for (int64_t j = 0; j < columns; ++j) x[j] = x[j] * scale + same;
      } else if (spec_.biased) {
#pragma omp simd
        for (int64_t j = 0; j < columns; ++j) x[j] = x[j] * scale + bias[j];
      } else if (spec_.scaled) {
#pragma omp simd
        for (int64_t j = 0; j < columns; ++j) x[j] *= scale;
      }
      if (!result) continue;
      if (!swapped_) {
        store_row(spec_.result, sums, columns, result + ((row + i) * dims_.n + column) * result_bytes());
        continue;
      }
      for (int64_t j = 0; j < columns; ++j)
        store_row(spec_.result, sums + j, 1, result + ((column + j) * dims_.m + row + i) * result_bytes());
    }
  }

  ProductSpec spec_;
  DotDims dims_;  // of the product that is computed: that of spec_, or its transpose
  Permutation copy_a_, copy_b_;
  Tiling tiling_;
  std::unique_ptr<TileProduct> tiles_[2][2];  // [last rows][last columns]
  DType operands_ = DType::float32;
  bool swapped_ = false, bfloat16_ = false, thin_ = false, deep_ = false;
  bool left_in_place_ = false, right_in_place_ = false, direct_ = false;
  int threads_ = 1, pieces_ = 0;
  int64_t left_row_ = 0, sums_row_ = 0;
  int64_t left_at_ = 0, right_at_ = 0, sums_at_ = 0, bias_at_ = 0, inner_at_ = 0, piece_bytes_ = 0;
  int64_t copy_a_at_ = 0, copy_b_at_ = 0, scratch_bytes_ = 0;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
