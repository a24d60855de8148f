// What both gradients of attention (of q, k, v and of the bias) recompute: the probabilities and the gradient of the
// scores, ds = p * (dp - D) with D = rowsum(dout * out) - dlse.
#pragma once
#include "cpu/attention_block.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Working memory of one thread.
struct GradientScratch {
  KeyChunks keys, values;
  float *q, *dout, *weights, *dscores, *lse, *mean;  // mean: D of each row
  RowBuffers* row;

  GradientScratch(const Problem& p, int64_t slots, bool key_rows, Carver& carver)
      : keys(carver, p.keys, p.depth, slots, key_rows, true),
        values(carver, p.keys, p.value_depth, slots, false, true),
        q(carver.take(kBlockRows * keys.stride())),
        dout(carver.take(kBlockRows * values.stride())),
        weights(carver.take(kBlockRows * kScoreRow)),
        dscores(carver.take(kBlockRows * kScoreRow)),
        lse(carver.take(kBlockRows)),
        mean(carver.take(kBlockRows)),
        row(carver.take<RowBuffers>(1)) {}
};

inline const void* keys_of(const Problem& p, const Call& call) {
  return p.packing == "qkv" ? call.in[0] : call.in[p.operands.k];
}
inline const void* values_of(const Problem& p, const Call& call) {
  return p.packing == "none" ? call.in[p.operands.v] : keys_of(p, call);
}

// Loads what a block of rows needs: scale * q, dout, and per row the log-sum-exp and D.
inline void load_block(const Problem& p, const Call& call, const Block& block, GradientScratch& s) {
  load_rows(p, call.in[0], p.q, block, p.depth, s.keys.stride(), s.q);
  for (int64_t i = 0; i < block.rows * s.keys.stride(); ++i) s.q[i] *= p.scale;
  load_rows(p, call.in[p.operands.out], p.out, block, p.value_depth, s.values.stride(), s.weights);
  load_rows(p, call.in[p.operands.dout], p.out, block, p.value_depth, s.values.stride(), s.dout);
  const int64_t stride = s.values.stride();
  std::fill(s.mean, s.mean + block.rows, 0.0f);
  // Number after number, as the tiles sum: a query that sees one key gets D = dp to the bit, and so no gradient.
  for (int64_t c = 0; c < p.value_depth; ++c) {
    for (int64_t r = 0; r < block.rows; ++r) s.mean[r] += s.dout[r * stride + c] * s.weights[r * stride + c];
  }
  const float* dlse = p.operands.dlse < 0 ? nullptr : call.input<float>(p.operands.dlse);
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t row = (block.b * p.heads + block.head[r]) * p.queries + block.index[r];
    if (dlse) s.mean[r] -= dlse[row];
    const float lse = call.input<float>(p.operands.lse)[row];
    s.lse[r] = lse == -kInfinity ? 0.0f : lse;  // nothing visible: every score is -inf
  }
}

// Row r of scores becomes row r of weights = p * keep / (1 - rate), and row r of d(weights) becomes ds.
inline void gradient_row(const Problem& p, const Call& call, const Visibility& visibility, const Block& block,
                         const Window& window, int64_t r, GradientScratch& s) {
  float *weights = s.weights + r * kScoreRow, *dscores = s.dscores + r * kScoreRow;
  const Span span = window.row[r], wide = span.empty() ? Span{window.all.low, window.all.low} : widen(span, kLanes);
  if (!span.empty()) {
    finish_scores(p, call, visibility, block, window, r, weights, s.row);
    const float lse = s.lse[r], mean = s.mean[r];
    if (p.dropout > 0) {
      float* factors = s.row->numbers;
      dropout_factors(p, call, block, window, r, factors);
      std::fill(dscores + wide.low, dscores + span.low, 0.0f);
      std::fill(dscores + span.high, dscores + wide.high, 0.0f);
#pragma omp simd
      for (int64_t j = wide.low; j < wide.high; ++j) weights[j] = weight_exp(weights[j] - lse);
      for (int64_t j = span.low; j < span.high; ++j) {
        const float kept = factors[j - span.low];
        dscores[j] = weights[j] * (kept * dscores[j] - mean);
        weights[j] *= kept;
      }
    } else {
#pragma omp simd
      for (int64_t j = wide.low; j < wide.high; ++j) {
        const float weight = weight_exp(weights[j] - lse);
        weights[j] = weight;
        dscores[j] = weight * (dscores[j] - mean);
      }
    }
  }
  for (float* row : {weights, dscores}) {
    std::fill(row + window.all.low, row + wide.low, 0.0f);
    std::fill(row + wide.high, row + window.all.high, 0.0f);
  }
}

// Fills s.weights and s.dscores for one chunk of keys.
inline void gradient_window(const Problem& p, const Call& call, const Visibility& visibility, const Block& block,
                            const Window& window, int64_t chunk, GradientScratch& s) {
  s.keys.load(p, keys_of(p, call), p.k, block.b, block.group, chunk);
  s.values.load(p, values_of(p, call), p.v, block.b, block.group, chunk);
  multiply_panels(block, window, s.q, s.keys.stride(), p.depth, s.keys.panels(), s.weights);
  multiply_panels(block, window, s.dout, s.values.stride(), p.value_depth, s.values.panels(), s.dscores);
  for (int64_t r = 0; r < block.rows; ++r) gradient_row(p, call, visibility, block, window, r, s);
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
