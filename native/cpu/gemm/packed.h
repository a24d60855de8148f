// Large products (GEMM): parts of A and B are packed for the cache and multiplied tile by tile.
//
// Each thread computes blocks of the result on its own, without waiting for another. Packing converts to the format of
// the arithmetic (float32, or bfloat16 where the processor multiplies that) and undoes every transposition, so that all
// layouts and formats run at the speed of the best one.
#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <string>

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
    const bool exact = exact_in_bfloat16(dims.a.dtype) && exact_in_bfloat16(dims.b.dtype);
    if (!exact || !native_bfloat16() || !plan_tiles(DType::bfloat16, threads)) plan_tiles(DType::float32, threads);
  }

  int64_t scratch_bytes() const { return piece_bytes_ * pieces_; }
  // See Kernel::path.
  std::string path() const { return "packed " + tile(0, 0, 0).name(); }

  void run(const GemmCall& call) const {
    parallel_for(pieces_, 1, [&](int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) {
        const int64_t blocks = blocking_.blocks();
        for (int64_t block = blocks * piece / pieces_; block < blocks * (piece + 1) / pieces_; ++block)
          run_block(call, static_cast<int>(piece), block);
      }
    });
  }

 private:
  // The tiles differ at the last row, the last column and the last stretch of the depth, and add after the first.
  struct TileKind {
    bool last_row, last_column, last_depth, add;
    size_t index() const { return static_cast<size_t>(last_row * 8 + last_column * 4 + last_depth * 2 + add); }
  };

  static bool is_last(const Cut& cut, int64_t piece) {
    return piece + 1 == cut.pieces() && cut.size(piece) != cut.unit;
  }

  const TileProduct& tile(int64_t row, int64_t column, int64_t depth) const {
    const TileKind kind{is_last(blocking_.rows, row), is_last(blocking_.columns, column),
                        is_last(blocking_.depth, depth), depth > 0};
    return *tiles_[kind.index()];
  }

  // Plans the product of operands that are brought to this dtype. False when there are no such tiles.
  bool plan_tiles(DType operands, int threads) {
    bfloat16_ = operands == DType::bfloat16;
    element_ = static_cast<int64_t>(dtype_bytes(operands));
    a_in_place_ = dims_.a.dtype == operands && dims_.a.inner_step == 1;
    const bool float_result = epilogue_.result == DType::float32;
    const double pack_a = a_in_place_ ? 0 : dims_.a.inner_step == 1 ? 16 : 30, pack_b = 25;
    blocking_ =
        choose_blocking({dims_.batches(), dims_.m, dims_.n, dims_.k, threads, element_, pack_a, pack_b, !float_result},
                        bfloat16_ ? kBfloat16Limits : kFloatLimits);
    pieces_ = static_cast<int>(std::min<int64_t>(threads, blocking_.blocks()));
    const bool deep = blocking_.depth.pieces() > 1;
    direct_ = float_result || (bfloat16_ && epilogue_.result == DType::bfloat16 && epilogue_.nothing() && !deep);
    a_row_ = a_in_place_ ? dims_.a.outer_step : blocking_.depth.unit + 64 / element_;
    sums_row_ = direct_ ? dims_.n
                : deep  ? blocking_.block_columns.unit * blocking_.columns.unit
                        : blocking_.columns.unit;
    if (!create_tiles()) return false;
    plan_scratch(deep);
    return true;
  }

  bool create_tiles() {
    for (auto& tile : tiles_) tile = nullptr;
    const Cut &rows = blocking_.rows, &columns = blocking_.columns, &depth = blocking_.depth;
    const DType sums = direct_ ? epilogue_.result : DType::float32;
    for (int64_t i : {int64_t{0}, rows.pieces() - 1}) {
      for (int64_t j : {int64_t{0}, columns.pieces() - 1}) {
        for (int64_t k : {int64_t{0}, std::min<int64_t>(1, depth.pieces() - 1), depth.pieces() - 1}) {
          const TileKind kind{is_last(rows, i), is_last(columns, j), is_last(depth, k), k > 0};
          auto& tile = tiles_[kind.index()];
          if (tile) continue;
          const TileSpec spec = {rows.size(i), columns.size(j), depth.size(k), sums, a_row_, sums_row_, k > 0};
          if (bfloat16_)
            tile = create_bfloat16_tile(spec, pieces_);
          else
            tile = std::make_unique<FloatTile>(spec);
          if (!tile) return false;
          // All rows of tiles read the same packed columns.
          const TileKind first{is_last(rows, 0), kind.last_column, kind.last_depth, kind.add};
          if (!(tile->layout() == tiles_[first.index()]->layout())) return false;
        }
      }
    }
    return true;
  }

  void plan_scratch(bool deep) {
    int64_t inner = 0;
    b_tile_ = 0;
    for (const auto& tile : tiles_) {
      if (!tile) continue;
      b_tile_ = std::max(b_tile_, round_up_to(tile->layout().size() * element_, 64));
      inner = std::max(inner, static_cast<int64_t>(tile->scratch_bytes()));
    }
    const int64_t block_rows = blocking_.block_rows.unit * blocking_.rows.unit;
    Layout layout;
    a_at_ = layout.take(a_in_place_ ? 0 : block_rows * a_row_ * element_);
    b_at_ = layout.take(b_tile_);
    sums_at_ = layout.take(direct_ ? 0 : (deep ? block_rows : blocking_.rows.unit) * sums_row_ * 4);
    bias_at_ = layout.take(epilogue_.biased ? blocking_.block_columns.unit * blocking_.columns.unit * 4 : 0);
    inner_at_ = layout.take(inner);
    piece_bytes_ = round_up_to(layout.end(), 4096) + 64 * 5;  // pieces do not start at the same place of a page
  }

  DotView view(const DotOperand& operand, const void* data, int64_t batch) const {
    int64_t offset = 0;
    for (size_t i = dims_.batch.size(); i-- > 0; batch /= dims_.batch[i])
      offset += batch % dims_.batch[i] * operand.batch_steps[i];
    return {operand.dtype, static_cast<const char*>(data) + offset * static_cast<int64_t>(dtype_bytes(operand.dtype)),
            operand.outer_step, operand.inner_step};
  }

  void run_block(const GemmCall& call, int piece, int64_t block) const {
    const Cut &rows = blocking_.rows, &columns = blocking_.columns, &depth = blocking_.depth;
    const int64_t across = blocking_.block_columns.pieces(), down = blocking_.block_rows.pieces();
    const int64_t batch = block / (across * down), block_row = block / across % down, block_column = block % across;
    const int64_t row_begin = block_row * blocking_.block_rows.unit,
                  row_end = row_begin + blocking_.block_rows.size(block_row);
    const int64_t column_begin = block_column * blocking_.block_columns.unit;
    const int64_t column_end = column_begin + blocking_.block_columns.size(block_column);
    char* base = call.scratch + piece * piece_bytes_;
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
        pack_left(left, block_rows, depth.size(k), bfloat16_, base + a_at_, a_row_);
        left.data = base + a_at_;
      }
      for (int64_t j = column_begin; j < column_end; ++j) {
        const int64_t column = j * columns.unit;
        pack_right(b.from(column, k * depth.unit), depth.size(k), columns.size(j), bfloat16_,
                   tile(row_begin, j, k).layout(), base + b_at_);
        for (int64_t i = row_begin; i < row_end; ++i) {
          const int64_t row = i * rows.unit;
          char* to = result + (row * dims_.n + column) * epilogue_.result_bytes();
          float* sums = direct_ ? reinterpret_cast<float*>(to) : reinterpret_cast<float*>(base + sums_at_);
          if (!direct_ && depth.pieces() > 1) sums += (row - first_row) * sums_row_ + (column - first_column);
          tile(i, j, k).run(piece, left.data + (row - first_row) * a_row_ * element_, base + b_at_, sums,
                            base + inner_at_);
          if (k + 1 == depth.pieces())
            store_tile(rows.size(i), columns.size(j), call.scale, bias + (column - first_column), sums, to);
        }
      }
    }
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
  std::array<std::unique_ptr<TileProduct>, 16> tiles_;  // by TileKind
  bool bfloat16_ = false, a_in_place_ = false;
  bool direct_ = false;  // sums are made where the result belongs
  int pieces_ = 0;
  int64_t element_ = 4, a_row_ = 0, b_tile_ = 0, sums_row_ = 0;
  int64_t a_at_ = 0, b_at_ = 0, sums_at_ = 0, bias_at_ = 0, inner_at_ = 0, piece_bytes_ = 0;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
