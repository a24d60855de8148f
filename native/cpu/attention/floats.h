// Attention in float32: operands as floats, products of register tiles. Queries are scaled before the product.
#pragma once
#include <algorithm>
#include <cstdint>

#include "cpu/attention/block.h"
#include "cpu/simd/lanes.h"
#include "cpu/simd/weight_exp.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// The keys or values of one head as float32, made chunk by chunk when first needed: as rows, as panels, or both.
// A panel holds kPanel keys as columns.
// Rows that hold an infinity or a NaN are kept as zeros: a key that a query does not see has weight 0, and 0 * NaN is
// not 0. Panels keep them, because what they give is replaced where it is hidden.
class FloatChunks : public ChunkOwners {
 public:
  FloatChunks(Carver& carver, int64_t keys, int64_t depth, int64_t slots, bool rows, bool panels)
      : ChunkOwners(carver, keys, depth, slots), keep_rows_(rows), make_panels_(panels) {
    rows_ = carver.take(rows ? slots * kChunk * stride() : kPad * stride());
    if (panels) panels_ = carver.take(slots * kChunk * depth);
  }

  // Makes `chunk` of head (b, group) current.
  void load(const Problem& p, const void* data, const Rows& rows, int64_t b, int64_t group, int64_t chunk) {
    if (!claim(p, b, group, chunk)) return;
    const int64_t first = chunk * kChunk, n = std::min(kChunk, keys() - first);
    const char* from = static_cast<const char*>(data);
    const int64_t bytes = static_cast<int64_t>(dtype_bytes(p.dtype));
    for (int64_t j = 0; j < n; j += kPad) {
      float* to = keep_rows_ ? rows_ + (slot() * kChunk + j) * stride() : rows_;
      for (int64_t r = 0; r < kPad; ++r) {
        float* row = to + r * stride();
        const int64_t filled = j + r < n ? depth() : 0, ahead = std::min(j + r + kRowsAhead, n - 1);
        prefetch_bytes(from + rows.at(b, first + ahead, group) * bytes, depth() * bytes);
        if (filled) load_row(p.dtype, from + rows.at(b, first + j + r, group) * bytes, depth(), row);
        std::fill(row + filled, row + stride(), 0.0f);
      }
      for (int64_t r = 0; make_panels_ && r < kPad; r += kLanes) {
        float* panel = panels_ + slot() * kChunk * depth() + (j + r) / kPanel * kPanel * depth() + (j + r) % kPanel;
        transpose_rows(to + r * stride(), stride(), depth(), panel, kPanel);
      }
      if (keep_rows_ && !all_finite(to, kPad * stride())) clear(to);
    }
  }

  const float* rows() const { return rows_ + slot() * kChunk * stride(); }
  const float* panels() const { return panels_ + slot() * kChunk * depth(); }

 private:
  void clear(float* to) {
    found_not_finite();
    for (int64_t r = 0; r < kPad; ++r, to += stride()) {
      if (!all_finite(to, stride())) std::fill(to, to + stride(), 0.0f);
    }
  }

  bool keep_rows_, make_panels_;
  float *rows_, *panels_ = nullptr;
};

struct FloatArithmetic {
  using Number = float;
  using Chunks = FloatChunks;
  static constexpr bool kScalesScores = false;
  static constexpr int64_t kUnit = kLanes, kRows = 1;  // keys and rows that weights are made of at once

  // Weights and gradients need no other form: they are multiplied as they are.
  struct Weights {
    explicit Weights(Carver&) {}
  };
  struct Gradients {
    Gradients(int64_t, int64_t, Carver&) {}
  };
  void keep_block(const Block&, const float*, int64_t, const float*, int64_t, Gradients&) const {}

  // Row r of scores becomes weights in place, zeros around `wide`. Returns their sum before dropout.
  float weigh(const ScoreRow& s, Span wide, Span all, int64_t r, Weights& to) const {
    float* row = s.scores;
    const float scale = s.scale, largest = s.largest;
    uint8_t hidden[kChunk];
    for (int64_t j = wide.low; s.least > 0 && j < wide.high; ++j) hidden[j] = row[j] == -kInfinity;
    Vector totals{};
    for (int64_t j = wide.low; j < wide.high; j += kLanes) {
#pragma omp simd
      for (int64_t i = j; i < j + kLanes; ++i) row[i] = weight_exp(row[i] * scale - largest);
      totals += vector_at(row + j);
    }
    for (int64_t j = wide.low; s.least > 0 && j < wide.high; ++j)
      row[j] = !hidden[j] && row[j] < s.least ? s.least : row[j];
    clear_weights(row, wide, all, r, to);
    for (int64_t j = wide.low; s.factors && j < wide.high; ++j) row[j] *= s.factors[j - wide.low];
    return add_lanes(totals);
  }
  void clear_weights(float* row, Span wide, Span all, int64_t, Weights&) const { fill_around(wide, all, 0.0f, row); }

  // The row of scores becomes weights = p * keep / (1 - rate), and that of d(weights) becomes ds.
  void gradients(const GradientRow* rows, int64_t, Span wide, Span all, float least, int64_t, Gradients*) const {
    const auto [weights, dscores, scale, max, share, mean, factors] = *rows;
    if (factors) {
#pragma omp simd
      for (int64_t j = wide.low; j < wide.high; ++j) {
        const float score = weights[j] * scale, kept = factors[j - wide.low];
        const float weight = gradient_weight(score, max, share, least), dkept = kept == 0 ? 0.0f : kept * dscores[j];
        weights[j] = weight * kept;
        dscores[j] = score == -kInfinity ? 0.0f : weight * (dkept - mean);
      }
    } else {
#pragma omp simd
      for (int64_t j = wide.low; j < wide.high; ++j) {
        const float score = weights[j] * scale, weight = gradient_weight(score, max, share, least);
        weights[j] = weight;
        dscores[j] = score == -kInfinity ? 0.0f : weight * (dscores[j] - mean);
      }
    }
    fill_around(wide, all, 0.0f, weights);
    fill_around(wide, all, 0.0f, dscores);
  }

  static bool finite(const float* row, int64_t n) { return all_finite(row, n); }

  // Rows of an operand as float32, padded with zeros to `stride` numbers.
  static void load_rows(const Problem& p, const void* data, const Rows& rows, const Block& block, int64_t depth,
                        int64_t stride, float* to) {
    const int64_t bytes = static_cast<int64_t>(dtype_bytes(p.dtype));
    const auto row = [&](int64_t r) {
      return static_cast<const char*>(data) + rows.at(block.b, block.index[r], block.head[r]) * bytes;
    };
    for (int64_t r = 0; r < std::min(kRowsAhead, block.rows); ++r) prefetch_bytes(row(r), depth * bytes);
    for (int64_t r = 0; r < block.rows; ++r, to += stride) {
      if (r + kRowsAhead < block.rows) prefetch_bytes(row(r + kRowsAhead), depth * bytes);
      load_row(p.dtype, row(r), depth, to);
      std::fill(to + depth, to + stride, 0.0f);
    }
  }

  static void load_query(const Problem& p, const Call& call, const Block& block, int64_t stride, float* to) {
    load_rows(p, call.in[0], p.q, block, p.depth, stride, to);
    for (int64_t i = 0; i < block.rows * stride; ++i) to[i] *= p.scale;
  }

  // mean[r] = dout[r, :] · out[r, :], number after number, as the tiles sum: a query that sees one key gets D = dp to
  // the bit, and so no gradient. `buffer` holds a block of rows.
  static void multiply_out(const Problem& p, const Call& call, const Block& block, const float* dout, int64_t stride,
                           float* buffer, float* mean) {
    load_rows(p, call.in[p.operands.out], p.out, block, p.value_depth, stride, buffer);
    std::fill(mean, mean + block.rows, 0.0f);
    for (int64_t c = 0; c < p.value_depth; ++c) {
      for (int64_t r = 0; r < block.rows; ++r) mean[r] += dout[r * stride + c] * buffer[r * stride + c];
    }
  }
  static int64_t out_size(int64_t stride) { return kBlockRows * stride; }  // of the buffer

  // scores[r, j] = left[r, :] · key j for the keys that each strip of rows sees. Other entries are left as they are.
  static void multiply_panels(const Block& block, const Window& window, const float* left, int64_t left_row,
                              int64_t depth, const float* panels, float* scores) {
    for (int64_t at = window.all.low / kPanel * kPanel; at < window.all.high; at += kPanel) {
      for (int64_t r = 0; r < block.rows; r += kTileRows) {
        const Span span = clip(widen(window.strip[r / kTileRows], kLanes), at, at + kPanel);
        if (span.empty()) continue;
        tile(std::min(kTileRows, block.rows - r), span.high - span.low, depth, {left + r * left_row, left_row, 1},
             panels + at * depth + span.low - at, kPanel, scores + r * kScoreRow + span.low, kScoreRow, false);
      }
    }
  }

  void multiply_rows(const Block& block, const Window& window, const float* weights, const Weights&, const float* right,
                     int64_t columns, float* sum) const {
    multiply_rows(block, window, weights, right, columns, sum);
  }
  void add_queries(const Block& block, const Window& window, const float* dscores, const Gradients&, const float* keys,
                   int64_t stride, float* dq) const {
    multiply_rows(block, window, dscores, keys, stride, dq);
  }

  // Sums of dk or dv: rows of `stride` numbers. Without `add` those of the whole window are set.
  void add_keys(const Block& block, const Window& window, const float* dscores, const float* q, const Gradients&,
                int64_t stride, bool add, float* sum) const {
    multiply_columns(block, window, dscores, q, stride, add, sum + window.first * stride);
  }
  void add_values(const Block& block, const Window& window, const float* weights, const float* dout, const Gradients&,
                  int64_t stride, bool add, float* sum) const {
    multiply_columns(block, window, weights, dout, stride, add, sum + window.first * stride);
  }
  static void clear_sums(const Window& window, int64_t stride, float* sum) {
    std::fill(sum + window.first * stride, sum + (window.first + window.keys) * stride, 0.0f);
  }
  static void add_to_key(float factor, const float* from, int64_t key, int64_t stride, float* sum) {
    add_scaled(factor, from, stride, sum + key * stride);
  }
  static void add_sums(const float* from, int64_t first, int64_t last, int64_t stride, float* sum) {
    for (int64_t i = first * stride; i < last * stride; ++i) sum[i] += from[i];
  }
  // Calls body(key, column, n, sums) for pieces of the sums of the keys [first, last).
  template <class Body>
  static void for_keys(float* sum, int64_t first, int64_t last, int64_t stride, const Body& body) {
    for (int64_t j = first; j < last; ++j) body(j, 0, stride, sum + j * stride);
  }

 private:
  // A hidden key has weight 0 whatever the query's statistics, which are NaN where the query or a key that it sees is.
  static float gradient_weight(float score, float max, float share, float least) {
    const float weight = weight_exp(score - max) * share;
    return score == -kInfinity ? 0.0f : weight < least ? least : weight;
  }

  // sum[r, :] += weights[r, j] * right[j, :] over the keys that each strip of rows sees.
  static void multiply_rows(const Block& block, const Window& window, const float* weights, const float* right,
                            int64_t columns, float* sum) {
    for (int64_t k = window.all.low; k < window.all.high; k += kDepth) {
      for (int64_t c = 0; c < columns; c += kPanel) {
        for (int64_t r = 0; r < block.rows; r += kTileRows) {
          const Span span = clip(window.strip[r / kTileRows], k, k + kDepth);
          if (span.empty()) continue;
          tile(std::min(kTileRows, block.rows - r), std::min(kPanel, columns - c), span.high - span.low,
               {weights + r * kScoreRow + span.low, kScoreRow, 1}, right + span.low * columns + c, columns,
               sum + r * columns + c, columns, true);
        }
      }
    }
  }

  // sum[j, :] += weights[r, j] * right[r, :]: the transposed product, over the rows that may see each strip of keys;
  // without `add` sum[j, :] = that.
  static void multiply_columns(const Block& block, const Window& window, const float* weights, const float* right,
                               int64_t columns, bool add, float* sum) {
    const Span keys = clip(window.all, 0, window.keys);
    for (int64_t j = keys.low; j < keys.high; j += kTileRows) {
      Span rows;
      for (int64_t r = 0; r < block.rows; r += kTileRows) {
        const Span& strip = window.strip[r / kTileRows];
        if (strip.low < j + kTileRows && strip.high > j) rows = join(rows, {r, std::min(r + kTileRows, block.rows)});
      }
      const int64_t n = std::min(kTileRows, keys.high - j);
      if (rows.empty() && !add) std::fill(sum + j * columns, sum + (j + n) * columns, 0.0f);
      for (int64_t c = 0; !rows.empty() && c < columns; c += kPanel) {
        tile(n, std::min(kPanel, columns - c), rows.high - rows.low, {weights + rows.low * kScoreRow + j, 1, kScoreRow},
             right + rows.low * columns + c, columns, sum + j * columns + c, columns, add);
      }
    }
  }
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
