// Attention in bfloat16 on the unit that multiplies it: operands as packed pairs, weights rounded to bfloat16, sums in
// float32. Scores are scaled after the product, since a scaled query would be rounded once more.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>

#include "cpu/attention/block.h"
#include "cpu/attention/pair_chunks.h"
#include "cpu/gemm/blocking.h"
#include "cpu/simd/lane_math.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// 2 * kLanes numbers of bfloat16.
typedef uint16_t Codes __attribute__((vector_size(sizeof(Lanes))));

inline void store_codes(uint16_t* to, Codes codes) { std::memcpy(to, &codes, sizeof codes); }

// Number j of the result is number pick(j) of (a, b) laid end to end.
template <class Pick, int... J>
inline Codes shuffle_codes(Codes a, Codes b, Pick pick, std::integer_sequence<int, J...>) {
  return __builtin_shuffle(a, b, Codes{static_cast<uint16_t>(pick(J))...});
}
inline constexpr auto kAllCodes = std::make_integer_sequence<int, 2 * kLanes>{};

// The nearest bfloat16, of a and then of b. A NaN must have an empty lower half. What is subnormal may become 0, as
// which the unit counts it.
inline Codes round_to_bfloat16(Lanes a, Lanes b) {
#if defined(__AVX512BF16__)
  return reinterpret_cast<Codes>(_mm512_cvtne2ps_pbh(b, a));
#else
  const auto rounded = [](Lanes x) {
    const Words bits = as_words(x);
    return reinterpret_cast<Codes>(bits + 0x7fffu + ((bits >> 16) & 1u));
  };
  return shuffle_codes(
      rounded(a), rounded(b), [](int j) constexpr { return 2 * j + 1; }, kAllCodes);
#endif
}

// Stores 2 * kLanes columns of two rows as pairs.
inline void store_pairs(uint16_t* to, Codes row, Codes next) {
  constexpr auto zip = [](int first) constexpr {
    return [first](int j) constexpr { return first + j / 2 + j % 2 * 2 * static_cast<int>(kLanes); };
  };
  store_codes(to, shuffle_codes(row, next, zip(0), kAllCodes));
  store_codes(to + 2 * kLanes, shuffle_codes(row, next, zip(kLanes), kAllCodes));
}

class PairArithmetic {
 public:
  using Number = uint16_t;
  using Chunks = PairChunks;
  static constexpr bool kScalesScores = true;
  static constexpr int64_t kUnit = 2 * kLanes, kRows = 2;  // keys and rows that weights are made of at once

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
  static void load_rows(const Problem& p, const void* data, const Rows& rows, const Block& block, int64_t depth,
                        int64_t stride, uint16_t* to) {
    const uint16_t* from = static_cast<const uint16_t*>(data);
    prefetch_rows(p, data, rows, block, depth);
    for (int64_t r = 0; r < block.rows; ++r, to += stride) {
      std::memcpy(to, from + rows.at(block.b, block.index[r], block.head[r]), static_cast<size_t>(depth) * 2);
      std::fill(to + depth, to + stride, uint16_t{0});
    }
  }
  static void load_query(const Problem& p, const Call& call, const Block& block, int64_t stride, uint16_t* to) {
    load_rows(p, call.in[0], p.q, block, p.depth, stride, to);
  }

  // mean[r] = dout[r, :] · out[r, :], the diagonals of products on the same unit as dp: a query that sees one key gets
  // D = dp to the bit, and so no gradient.
  void multiply_out(const Problem& p, const Call& call, const Block& block, const uint16_t* dout, int64_t stride,
                    float* buffer, float* mean) const {
    float* products = buffer;
    uint16_t* out = reinterpret_cast<uint16_t*>(buffer + kDiagonal * kDiagonal);
    uint16_t* panels = out + kBlockRows * stride;
    load_rows(p, call.in[p.operands.out], p.out, block, p.value_depth, stride, out);
    const int64_t columns = divide_up(block.rows, kPairPanel);
    const DotView view{DType::bfloat16, reinterpret_cast<const char*>(out), stride, 1};
    pack_right(view, stride, block.rows, {kPairPanel, stride, 2, columns}, panels);
    for (int64_t r = 0; r < block.rows; r += kDiagonal) {
      const int64_t n = std::min(kDiagonal, block.rows - r);
      const uint16_t* right = panels + r / kPairPanel * kPairPanel * stride + r % kPairPanel * 2;
      unit_->multiply(
          {n, n, stride, dout + r * stride, stride, right, stride * kPairPanel, products, kDiagonal, false});
      for (int64_t i = 0; i < n; ++i) mean[r + i] = products[i * (kDiagonal + 1)];
    }
  }
  static int64_t out_size(int64_t stride) { return kDiagonal * kDiagonal + kBlockRows * stride; }

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

  // Row r of scores becomes a row of rounded weights, zeros around `wide`, and of floats where more is to be done with
  // them. Returns the sum of the weights before rounding and dropout.
  float weigh(const ScoreRow& s, Span wide, Span all, int64_t r, Weights& to) const {
    clear_weights(s.scores, wide, all, r, to);
    uint16_t* codes = to.rows + r * kScoreRow;
    return s.least > 0 || s.factors ? weigh<false>(s, wide, codes) : weigh<true>(s, wide, codes);
  }
  void clear_weights(float*, Span wide, Span all, int64_t r, Weights& to) const {
    fill_around(wide, all, uint16_t{0}, to.rows + r * kScoreRow);
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

  // Rows r and, of two, r + 1 of scores become weights = p * keep / (1 - rate), and those of d(weights) become ds.
  void gradients(const GradientRow* rows, int64_t n, Span wide, Span all, float least, int64_t r, Gradients* to) const {
    const bool plain = to && least == 0 && !rows->factors;
    if (n == 2)
      plain ? gradients<2, true>(rows, wide, least, r, to) : gradients<2, false>(rows, wide, least, r, to);
    else
      plain ? gradients<1, true>(rows, wide, least, r, to) : gradients<1, false>(rows, wide, least, r, to);
    for (int64_t i = 0; i < n; ++i) {
      if (to) fill_around(wide, all, uint16_t{0}, to->dscores + (r + i) * kScoreRow);
      if (plain) continue;
      fill_around(wide, all, 0.0f, rows[i].weights);
      fill_around(wide, all, 0.0f, rows[i].dscores);
    }
    if (!to) return;
    for (const Span& keys : {Span{all.low, wide.low}, Span{wide.high, all.high}}) {
      for (int64_t j = keys.low; j < keys.high; j += kUnit) {
        std::fill_n(to->dscore_pairs + pairs_at(r, j), 2 * kUnit, uint16_t{0});
        std::fill_n(to->weight_pairs + pairs_at(r, j), 2 * kUnit, uint16_t{0});
      }
    }
  }

  void add_queries(const Block& block, const Window& window, const float*, const Gradients& gradients,
                   const uint16_t* keys, int64_t stride, float* dq) const {
    multiply_rows(block, window, gradients.dscores, keys, stride, dq);
  }

  // Sums of dk or dv: transposed, so that keys are columns, and chunk by chunk. Without `add` those of the whole window
  // are set.
  void add_keys(const Block& block, const Window& window, const float*, const uint16_t*, const Gradients& gradients,
                int64_t stride, bool add, float* sum) const {
    multiply_columns(block, window, gradients.q, stride, gradients.dscore_pairs, add, sum);
  }
  void add_values(const Block& block, const Window& window, const float*, const uint16_t*, const Gradients& gradients,
                  int64_t stride, bool add, float* sum) const {
    multiply_columns(block, window, gradients.dout, stride, gradients.weight_pairs, add, sum);
  }
  static void clear_sums(const Window& window, int64_t stride, float* sum) {
    sum += sum_at(window.first, stride);
    std::fill(sum, sum + stride * kScoreRow, 0.0f);
  }
  static void add_to_key(float factor, const float* from, int64_t key, int64_t stride, float* sum) {
    sum += sum_at(key, stride);
    for (int64_t c = 0; c < stride; ++c) sum[c * kScoreRow] += factor * from[c];
  }
  // The keys [first, last) are of one chunk.
  static void add_sums(const float* from, int64_t first, int64_t last, int64_t stride, float* sum) {
    from += sum_at(first, stride);
    sum += sum_at(first, stride);
    for (int64_t c = 0; c < stride; ++c) add_scaled(1, from + c * kScoreRow, last - first, sum + c * kScoreRow);
  }
  // Calls body(key, column, n, sums) for pieces of the sums of the keys [first, last).
  template <class Body>
  static void for_keys(float* sum, int64_t first, int64_t last, int64_t stride, const Body& body) {
    constexpr int64_t kWide = 64;
    alignas(64) float turned[kSquare][kWide];
    Words square[kSquare];
    for (int64_t j = first / kSquare * kSquare; j < last; j += kSquare) {
      for (int64_t c = 0; c < stride; c += kWide) {
        const int64_t wide = std::min(kWide, stride - c);
        const float* from = sum + sum_at(j, stride) + c * kScoreRow;
        for (int64_t i = 0; i < wide; i += kSquare) {
#pragma GCC unroll 16
          for (int k = 0; k < kSquare; ++k) square[k] = load_words(from + (i + k) * kScoreRow);
          transpose_square(square);
          store_square(turned[0] + i, kWide * 4, square, kSquare, kSquare * 4, std::true_type{});
        }
        for (int64_t i = std::max(first, j); i < std::min(last, j + kSquare); ++i) body(i, c, wide, turned[i - j]);
      }
    }
  }

 private:
  static constexpr int64_t kTurnedRow = kBlockRows + kPad;
  static constexpr int64_t kPairsPanel = kBlockRows * kPairPanel;
  static constexpr DType kExactness = DType::float16;  // of exponentials: their sums are more exact than bfloat16
  static constexpr int64_t kDiagonal = 16;             // rows of the products whose diagonals multiply_out takes

  static int64_t sum_at(int64_t key, int64_t stride) { return key / kChunk * stride * kScoreRow + key % kChunk; }
  static int64_t pairs_at(int64_t r, int64_t key) {
    return key / kPairPanel * kPairsPanel + r * kPairPanel + key % kPairPanel * 2;
  }

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

  // sum[c, j] += left[c, r] * weights[r, j] for the rows of the strips that see a key; without `add` sum[c, j] = that.
  void multiply_columns(const Block& block, const Window& window, const uint16_t* left, int64_t depth,
                        const uint16_t* pairs, bool add, float* sum) const {
    sum += sum_at(window.first, depth);
    for (int64_t j = window.all.low, end; j < window.all.high; j = end) {
      const Span rows = seen_by(block, window, j);
      for (end = j + kPairPanel; end < window.all.high && seen_by(block, window, end) == rows;) end += kPairPanel;
      if (!rows.empty())
        unit_->multiply({depth, end - j, rows.high - rows.low, left + rows.low, kTurnedRow,
                         pairs + j * kBlockRows + rows.low * kPairPanel, kPairsPanel, sum + j, kScoreRow, add});
      else if (!add)
        for (int64_t c = 0; c < depth; ++c) std::fill(sum + c * kScoreRow + j, sum + c * kScoreRow + end, 0.0f);
    }
  }

  // The rows of the strips that see something of the panel of keys from j on.
  static Span seen_by(const Block& block, const Window& window, int64_t j) {
    Span rows;
    for (int64_t r = 0; r < block.rows; r += kTall) {
      const Span& strip = window.tall[r / kTall];
      if (strip.low < j + kPairPanel && strip.high > j) rows = join(rows, {r, std::min(r + kTall, block.rows)});
    }
    return rows;
  }

  // to[c, r] = from[r, c].
  static void turn(const uint16_t* from, int64_t stride, int64_t rows, uint16_t* to) {
    pack_left({DType::bfloat16, reinterpret_cast<const char*>(from), 1, stride}, stride, rows, true, to, kTurnedRow);
  }

  // PLAIN: every weight counts as it is, and floats are not needed.
  template <bool PLAIN>
  static float weigh(const ScoreRow& s, Span wide, uint16_t* codes) {
    Lanes totals[2] = {};
    for (int64_t j = wide.low; j < wide.high; j += kUnit) {
      Lanes weights[2];
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        float* at = s.scores + j + half * kLanes;
        const Lanes score = lanes_at<Lanes>(at);
        Lanes weight = weight_exp_lanes<kExactness>(score * s.scale - s.largest);
        totals[half] += weight;
        if constexpr (!PLAIN) {
          const Lanes least = score == -kInfinity ? Lanes{} : Lanes{} + s.least;
          weight = weight < least ? least : weight;
          if (s.factors) weight *= lanes_at<Lanes>(s.factors + (j - wide.low) + half * kLanes);
          put_lanes(at, weight);
        }
        weights[half] = weight;
      }
      store_codes(codes + j, round_to_bfloat16(weights[0], weights[1]));
    }
    return add_lanes(totals[0] + totals[1]);
  }

  template <int ROWS, bool PLAIN>
  static void gradients(const GradientRow* rows, Span wide, float least, int64_t r, Gradients* to) {
    for (int64_t j = wide.low; j < wide.high; j += kUnit) {
      Codes weights[2] = {}, dscores[2] = {};
#pragma GCC unroll 2
      for (int i = 0; i < ROWS; ++i) {
        Lanes kept[2], dscore[2];
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half)
          gradient<PLAIN>(rows[i], j + half * kLanes, wide.low, least, kept[half], dscore[half]);
        weights[i] = round_to_bfloat16(kept[0], kept[1]);
        dscores[i] = round_to_bfloat16(dscore[0], dscore[1]);
      }
      if (!PLAIN && !to) continue;
      for (int i = 0; i < ROWS; ++i) store_codes(to->dscores + (r + i) * kScoreRow + j, dscores[i]);
      store_pairs(to->dscore_pairs + pairs_at(r, j), dscores[0], dscores[1]);
      store_pairs(to->weight_pairs + pairs_at(r, j), weights[0], weights[1]);
    }
  }

  // kLanes keys of a row from j on. A hidden key has weight 0 whatever the query's statistics, which are NaN where the
  // query or a key that it sees is.
  template <bool PLAIN>
  static inline __attribute__((always_inline)) void gradient(const GradientRow& g, int64_t j, int64_t first,
                                                             float least, Lanes& kept, Lanes& dscore) {
    const Lanes score = lanes_at<Lanes>(g.weights + j), hidden = Lanes{} - kInfinity;
    Lanes weight = weight_exp_lanes<kExactness>(score * g.scale - g.max) * g.share;
    Lanes dweight = lanes_at<Lanes>(g.dscores + j);
    if (!PLAIN) weight = weight < Lanes{} + least ? Lanes{} + least : weight;
    kept = weight;
    if (!PLAIN && g.factors) {
      const Lanes factor = lanes_at<Lanes>(g.factors + (j - first));
      kept *= factor;
      dweight = factor == Lanes{} ? Lanes{} : dweight * factor;
    }
    kept = score == hidden ? Lanes{} : kept;
    dscore = score == hidden ? Lanes{} : weight * (dweight - g.mean);
    if (!PLAIN) put_lanes(g.weights + j, kept), put_lanes(g.dscores + j, dscore);
  }

  const Bfloat16Unit* unit_ = bfloat16_unit();
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
