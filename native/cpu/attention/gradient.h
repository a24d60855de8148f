// What both gradients of attention (of q, k, v and of the bias) recompute: the probabilities and the gradient of the
// scores, ds = p * (dp - D) with D = rowsum(dout * out) - dlse.
#pragma once
#include "cpu/attention/floats.h"
#include "cpu/attention/pairs.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Working memory of one thread. A: the arithmetic, FloatArithmetic or PairArithmetic.
template <class A>
struct GradientScratch {
  typename A::Chunks keys, values;
  typename A::Number *q, *dout;
  float *weights, *dscores;
  float *max, *share, *mean;  // of each row: the largest score, 1 / sum, and D
  float* given;               // a row of dout as it was given
  RowBuffers* row;
  bool finite = true;  // every number of the block's dout is

  void forget() { keys.forget(), values.forget(); }

  GradientScratch(const Problem& p, int64_t slots, bool key_rows, Carver& carver)
      : keys(carver, p.keys, p.depth, slots, key_rows, true),
        values(carver, p.keys, p.value_depth, slots, false, true),
        q(carver.take<typename A::Number>(kBlockRows * keys.stride())),
        dout(carver.take<typename A::Number>(kBlockRows * values.stride())),
        weights(carver.take(std::max(kBlockRows * kScoreRow, A::out_size(values.stride())))),
        dscores(carver.take(kBlockRows * kScoreRow)),
        max(carver.take(kBlockRows)),
        share(carver.take(kBlockRows)),
        mean(carver.take(kBlockRows)),
        given(carver.take(values.stride())),
        row(carver.take<RowBuffers>(A::kRows)) {}
};

inline const void* keys_of(const Problem& p, const Call& call) {
  return p.packing == "qkv" ? call.in[0] : call.in[p.operands.k];
}
inline const void* values_of(const Problem& p, const Call& call) {
  return p.packing == "none" ? call.in[p.operands.v] : keys_of(p, call);
}

// Makes rows of q and dout that are not finite zeros, since the keys that they do not see meet them with weight 0. The
// others get NaN by way of the statistics, or from add_given_rows.
template <class A>
void clear_rows(const Block& block, GradientScratch<A>& s) {
  const int64_t q_stride = s.keys.stride(), stride = s.values.stride();
  s.finite = A::finite(s.dout, block.rows * stride);
  if (s.finite && A::finite(s.q, block.rows * q_stride)) return;
  for (int64_t r = 0; r < block.rows; ++r) {
    typename A::Number *q = s.q + r * q_stride, *dout = s.dout + r * stride;
    if (!A::finite(q, q_stride)) {
      std::fill(q, q + q_stride, typename A::Number{0});
      s.max[r] = std::numeric_limits<float>::quiet_NaN();
    }
    if (!A::finite(dout, stride)) std::fill(dout, dout + stride, typename A::Number{0});
  }
}

// Loads what a block of rows needs: q, dout, and per row the statistics and D.
template <class A>
void load_block(const A& a, const Problem& p, const Call& call, const Block& block, GradientScratch<A>& s) {
  const int64_t stride = s.values.stride();
  a.load_query(p, call, block, s.keys.stride(), s.q);
  a.load_rows(p, call.in[p.operands.dout], p.out, block, p.value_depth, stride, s.dout);
  a.multiply_out(p, call, block, s.dout, stride, s.weights, s.mean);
  const float* dlse = p.has_dlse ? call.input<float>(p.operands.dlse) : nullptr;
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t row = (block.b * p.heads + block.head[r]) * p.queries + block.index[r];
    if (dlse) s.mean[r] = plain_nan(s.mean[r] - dlse[row]);
    // A row that sees nothing has no score above -inf, whatever these are.
    s.max[r] = plain_nan(call.input<float>(p.operands.max)[row]);
    s.share[r] = plain_nan(1.0f / call.input<float>(p.operands.sum)[row]);
  }
  clear_rows(block, s);
}

// Adds to dv what the product left out: the rows of dout that are not finite, to the values that they see.
template <class A>
void add_given_rows(const Problem& p, const Call& call, const Block& block, const Window& window,
                    const GradientScratch<A>& s, float* sum) {
  const int64_t stride = s.values.stride(), bytes = static_cast<int64_t>(dtype_bytes(p.dtype));
  std::fill(s.given, s.given + stride, 0.0f);
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t at = p.out.at(block.b, block.index[r], block.head[r]) * bytes;
    load_row(p.dtype, static_cast<const char*>(call.in[p.operands.dout]) + at, p.value_depth, s.given);
    if (all_finite(s.given, p.value_depth)) continue;
    for (int64_t j = window.row[r].low; j < window.row[r].high; ++j) {
      const float weight = s.weights[r * kScoreRow + j];
      if (weight != 0) A::add_to_key(weight, s.given, window.first + j, stride, sum);
    }
  }
}

// The rows of scores from r on become weights and gradients of the scores, as many as the arithmetic takes at once.
template <class A>
void gradient_rows(const A& a, const Problem& p, const Call& call, const Visibility& visibility, const Block& block,
                   const Window& window, int64_t r, GradientScratch<A>& s, typename A::Gradients* kept) {
  const int64_t n = std::min(A::kRows, block.rows - r);
  Span seen;
  for (int64_t i = r; i < r + n; ++i) seen = join(seen, window.row[i]);
  const Span wide = seen.empty() ? window.none() : widen(seen, A::kUnit);
  GradientRow rows[A::kRows];
  for (int64_t i = 0; i < n; ++i) {
    const int64_t row = r + i;
    const ScoreScale scale(p, block, row, A::kScalesScores);
    float* weights = s.weights + row * kScoreRow;
    finish_scores(p, call, visibility, block, window, row, wide, scale.now, weights, s.row + i);
    rows[i] = {weights,
               s.dscores + row * kScoreRow,
               scale.later,
               s.max[row],
               s.share[row],
               s.mean[row],
               p.dropout > 0 ? dropout_factors(p, call, block, window, row, wide, s.row + i) : nullptr};
  }
  a.gradients(rows, n, wide, window.all, s.finite ? 0.0f : kLeastWeight, r, kept);
}

// The weights and the gradients of the scores for one chunk of keys: in `kept` as the arithmetic multiplies them, and
// in s.weights and s.dscores without `kept` or where something is not finite.
template <class A>
void gradient_window(const A& a, const Problem& p, const Call& call, const Visibility& visibility, const Block& block,
                     const Window& window, int64_t chunk, GradientScratch<A>& s, typename A::Gradients* kept) {
  s.keys.load(p, keys_of(p, call), p.k, block.b, block.group, chunk);
  s.values.load(p, values_of(p, call), p.v, block.b, block.group, chunk);
  a.multiply_panels(block, window, s.q, s.keys.stride(), p.depth, s.keys.panels(), s.weights);
  a.multiply_panels(block, window, s.dout, s.values.stride(), p.value_depth, s.values.panels(), s.dscores);
  for (int64_t r = 0; r < block.rows; r += A::kRows) gradient_rows(a, p, call, visibility, block, window, r, s, kept);
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
