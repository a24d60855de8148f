// Attention in bfloat16 on the unit that multiplies it: operands as packed pairs, weights rounded to bfloat16, sums in
// float32. Scores are scaled after the product, since a scaled query would be rounded once more.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/attention/block.h"
#include "cpu/gemm/bfloat16_unit.h"
#include "cpu/gemm/blocking.h"
#include "cpu/gemm/pack.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline bool finite_codes(const uint16_t* row, int64_t n) {
  uint16_t largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t c = 0; c < n; ++c) largest = std::max<uint16_t>(largest, row[c] & 0x7fffu);
  return largest < 0x7f80u;
}

// The keys or values of one head as right operands of products, made chunk by chunk when first needed: with keys down
// (pairs of successive keys), across (pairs along the depth, keys as columns), or both. A key that holds an infinity or
// a NaN is kept as zeros where keys lie down, as in FloatChunks.
class PairChunks : public ChunkOwners {
 public:
  PairChunks(Carver& carver, int64_t keys, int64_t depth, int64_t slots, bool down, bool across)
      : ChunkOwners(carver, keys, depth, slots), even_(round_up(depth, 2)) {
    if (down) down_ = carver.take<uint16_t>(slots * down_size());
    if (across) across_ = carver.take<uint16_t>(slots * kChunk * even_);
  }

  void load(const Problem& p, const void* data, const Rows& rows, int64_t b, int64_t group, int64_t chunk) {
    if (!claim(p, b, group, chunk)) return;
    const int64_t n = std::min(kChunk, keys() - chunk * kChunk), first = rows.at(b, chunk * kChunk, group);
    const char* from = static_cast<const char*>(data) + first * 2;
    if (across_) {
      const PanelLayout layout{kPairPanel, even_, 2, divide_up(n, kPairPanel)};
      pack_right({p.dtype, from, rows.position, 1}, depth(), n, layout, across_ + slot() * kChunk * even_);
    }
    if (!down_) return;
    uint16_t* to = down_ + slot() * down_size();
    const PanelLayout layout{kPairPanel, kChunk, 2, divide_up(depth(), kPairPanel)};
    pack_right({p.dtype, from, 1, rows.position}, n, depth(), layout, to);
    for (int64_t j = 0; j < n; ++j)
      if (!finite_codes(static_cast<const uint16_t*>(data) + first + j * rows.position, depth())) clear(j, to);
  }

  const uint16_t* rows() const { return down_ + slot() * down_size(); }
  const uint16_t* panels() const { return across_ + slot() * kChunk * even_; }

 private:
  int64_t down_size() const { return kChunk * round_up(depth(), kPairPanel); }

  void clear(int64_t key, uint16_t* to) {
    found_not_finite();
    to += key / 2 * 2 * kPairPanel + key % 2;
    for (int64_t c = 0; c < depth(); ++c) to[c / kPairPanel * kChunk * kPairPanel + c % kPairPanel * 2] = 0;
  }

  int64_t even_;
  uint16_t *down_ = nullptr, *across_ = nullptr;
};

// The bits of float32 rounded to the nearest bfloat16, in the upper half of each word.
inline Words round_to_bfloat16(Words bits) {
  const Words rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  return (bits & 0x7fffffffu) > 0x7f800000u ? bits | 0x00400000u : rounded;
}

class PairArithmetic {
 public:
  using Number = uint16_t;
  using Chunks = PairChunks;
  static constexpr bool kScalesScores = true;

  static bool takes(const Problem& p) { return p.dtype == DType::bfloat16 && bfloat16_unit() != nullptr; }

  // Weights as a left operand: rounded rows.
  struct Weights {
    uint16_t* rows;
    explicit Weights(Carver& carver) : rows(carver.take<uint16_t>(kBlockRows * kScoreRow)) {}
  };

  // What the sums over queries multiply: q and dout transposed, once a block; of a window the gradients of the scores
  // as rounded rows, and these and the weights as pairs of rows.
  struct Gradients {
    uint16_t *q, *dout, *dscores, *dscore_pairs, *weight_pairs;
    Gradients(int64_t q_stride, int64_t dout_stride, Carver& carver)
        : q(carver.take<uint16_t>(q_stride * kTurnedRow)),
          dout(carver.take<uint16_t>(dout_stride * kTurnedRow)),
          dscores(carver.take<uint16_t>(kBlockRows * kScoreRow)),
          dscore_pairs(carver.take<uint16_t>(kBlockRows * kChunk)),
          weight_pairs(carver.take<uint16_t>(kBlockRows * kChunk)) {}
  };

  static bool finite(const uint16_t* row, int64_t n) { return finite_codes(row, n); }

  // Rows of an operand, padded with zeros to `stride` numbers.
  static void load_rows(const Problem&, const void* data, const Rows& rows, const Block& block, int64_t depth,
                        int64_t stride, uint16_t* to) {
    const uint16_t* from = static_cast<const uint16_t*>(data);
    for (int64_t r = 0; r < block.rows; ++r, to += stride) {
      std::memcpy(to, from + rows.at(block.b, block.index[r], block.head[r]), static_cast<size_t>(depth) * 2);
      std::fill(to + depth, to + stride, uint16_t{0});
    }
  }
  static void load_query(const Problem& p, const Call& call, const Block& block, int64_t stride, uint16_t* to) {
    load_rows(p, call.in[0], p.q, block, p.depth, stride, to);
  }

  // mean[r] = dout[r, :] · out[r, :], the diagonal of a product on the same unit as dp: a query that sees one key gets
  // D = dp to the bit, and so no gradient.
  void multiply_out(const Problem& p, const Call& call, const Block& block, const uint16_t* dout, int64_t stride,
                    float* buffer, float* mean) const {
    float* products = buffer;
    uint16_t* out = reinterpret_cast<uint16_t*>(buffer + kBlockRows * kBlockRows);
    uint16_t* panels = out + kBlockRows * stride;
    load_rows(p, call.in[p.operands.out], p.out, block, p.value_depth, stride, out);
    const int64_t columns = divide_up(block.rows, kPairPanel);
    const DotView view{DType::bfloat16, reinterpret_cast<const char*>(out), stride, 1};
    pack_right(view, stride, block.rows, {kPairPanel, stride, 2, columns}, panels);
    unit_->multiply(
        {block.rows, block.rows, stride, dout, stride, panels, stride * kPairPanel, products, kBlockRows, false});
    for (int64_t r = 0; r < block.rows; ++r) mean[r] = products[r * (kBlockRows + 1)];
  }
  static int64_t out_size(int64_t stride) { return kBlockRows * kBlockRows + kBlockRows * stride; }

  // scores[r, j] = left[r, :] · key j for the keys that each strip of rows sees.
  void multiply_panels(const Block& block, const Window& window, const uint16_t* left, int64_t left_row, int64_t depth,
                       const uint16_t* panels, float* scores) const {
    const int64_t panel = round_up(depth, 2) * kPairPanel;
    for_strips(block, window, [&](int64_t r, int64_t rows, Span keys) {
      unit_->multiply({rows, keys.high - keys.low, depth, left + r * left_row, left_row,
                       panels + keys.low / kPairPanel * panel, panel, scores + r * kScoreRow + keys.low, kScoreRow,
                       false});
    });
  }

  void keep_weights(const float* scores, const Window& window, int64_t r, Weights& to) const {
    const Span& span = window.all;
    const int64_t at = r * kScoreRow + span.low;
    float_row_to_bfloat16(scores + at, span.high - span.low, to.rows + at);
  }

  void multiply_rows(const Block& block, const Window& window, const float*, const Weights& weights,
                     const uint16_t* right, int64_t columns, float* sum) const {
    multiply_rows(block, window, weights.rows, right, columns, sum);
  }

  void keep_block(const Block& block, const uint16_t* q, int64_t q_stride, const uint16_t* dout, int64_t dout_stride,
                  Gradients& to) const {
    turn(q, q_stride, block.rows, to.q);
    turn(dout, dout_stride, block.rows, to.dout);
  }

  void keep_gradients(const Block& block, const Window& window, const float* weights, const float* dscores,
                      Gradients& to) const {
    for (int64_t r = 0; r < block.rows; r += 2) {
      const float *w = weights + r * kScoreRow, *ds = dscores + r * kScoreRow;
      r + 1 < block.rows ? keep_rows<true>(w, ds, r, window.all, to) : keep_rows<false>(w, ds, r, window.all, to);
    }
  }

  void add_queries(const Block& block, const Window& window, const float*, const Gradients& gradients,
                   const uint16_t* keys, int64_t stride, float* dq) const {
    multiply_rows(block, window, gradients.dscores, keys, stride, dq);
  }

  // Sums of dk or dv: transposed, so that keys are columns, `row` numbers apart.
  void add_keys(const Block& block, const Window& window, const float*, const uint16_t*, const Gradients& gradients,
                int64_t stride, int64_t row, float* sum) const {
    multiply_columns(block, window, gradients.q, stride, gradients.dscore_pairs, row, sum);
  }
  void add_values(const Block& block, const Window& window, const float*, const uint16_t*, const Gradients& gradients,
                  int64_t stride, int64_t row, float* sum) const {
    multiply_columns(block, window, gradients.dout, stride, gradients.weight_pairs, row, sum);
  }
  static void add_to_key(float factor, const float* from, int64_t key, int64_t stride, int64_t row, float* sum) {
    for (int64_t c = 0; c < stride; ++c) sum[c * row + key] += factor * from[c];
  }
  static void add_sums(const float* from, int64_t first, int64_t last, int64_t stride, int64_t row, float* sum) {
    for (int64_t c = 0; c < stride; ++c) {
      for (int64_t j = first; j < last; ++j) sum[c * row + j] += from[c * row + j];
    }
  }
  // Calls body(key, column, n, sums) for pieces of the sums of the keys [first, last).
  template <class Body>
  static void for_keys(float* sum, int64_t first, int64_t last, int64_t stride, int64_t row, const Body& body) {
    alignas(64) float turned[kSquare][kSquare];
    for (int64_t j = first / kSquare * kSquare; j < last; j += kSquare) {
      for (int64_t c = 0; c < stride; c += kSquare) {
        transpose_square(sum + c * row + j, row, turned[0], kSquare, kSquare);
        for (int64_t i = std::max(first, j); i < std::min(last, j + kSquare); ++i) body(i, c, kSquare, turned[i - j]);
      }
    }
  }

 private:
  static constexpr int64_t kTurnedRow = kBlockRows + kPad;
  static constexpr int64_t kPairsPanel = kBlockRows * kPairPanel;

  // Strips of kTall rows and the panels of keys that one of them sees.
  template <class Body>
  static void for_strips(const Block& block, const Window& window, const Body& body) {
    for (int64_t r = 0; r < block.rows; r += kTall) {
      if (window.tall[r / kTall].empty()) continue;
      body(r, std::min(kTall, block.rows - r), widen(window.tall[r / kTall], kPairPanel));
    }
  }

  // sum[r, :] += weights[r, j] * right[j, :].
  void multiply_rows(const Block& block, const Window& window, const uint16_t* weights, const uint16_t* right,
                     int64_t columns, float* sum) const {
    for_strips(block, window, [&](int64_t r, int64_t rows, Span keys) {
      unit_->multiply({rows, columns, keys.high - keys.low, weights + r * kScoreRow + keys.low, kScoreRow,
                       right + keys.low * kPairPanel, kChunk * kPairPanel, sum + r * columns, columns, true});
    });
  }

  // sum[c, j] += left[c, r] * weights[r, j].
  void multiply_columns(const Block& block, const Window& window, const uint16_t* left, int64_t depth,
                        const uint16_t* pairs, int64_t row, float* sum) const {
    const Span keys = window.all;
    unit_->multiply({depth, keys.high - keys.low, block.rows, left, kTurnedRow, pairs + keys.low * kBlockRows,
                     kPairsPanel, sum + window.first + keys.low, row, true});
  }

  // to[c, r] = from[r, c].
  static void turn(const uint16_t* from, int64_t stride, int64_t rows, uint16_t* to) {
    pack_left({DType::bfloat16, reinterpret_cast<const char*>(from), 1, stride}, stride, rows, true, to, kTurnedRow);
  }
  // Rows r and r + 1; zeros where there is no second row.
  template <bool TWO>
  static void keep_rows(const float* weights, const float* dscores, int64_t r, Span span, Gradients& to) {
    uint16_t* row = to.dscores + r * kScoreRow;
    const auto second = [&](const float* rows, int64_t j) {
      return TWO ? round_to_bfloat16(load_words(rows + kScoreRow + j)) : Words{};
    };
    for (int64_t j = span.low; j < span.high; j += kSquare) {
      const int64_t pairs = j / kPairPanel * kPairsPanel + r * kPairPanel + j % kPairPanel * 2;
      const Words low = round_to_bfloat16(load_words(dscores + j)), high = second(dscores, j);
      store_halves(row + j, low >> 16);
      if (TWO) store_halves(row + kScoreRow + j, high >> 16);
      store_words(to.dscore_pairs + pairs, pair_up(low, high));
      const Words weight = round_to_bfloat16(load_words(weights + j));
      store_words(to.weight_pairs + pairs, pair_up(weight, second(weights, j)));
    }
  }

  const Bfloat16Unit* unit_ = bfloat16_unit();
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
