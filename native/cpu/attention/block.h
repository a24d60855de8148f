// The parts that the passes over an attention problem share. Work goes by blocks of query rows of one key/value head
// (rows of all its query heads, one after the other) against chunks of keys, so that scratch does not grow with the
// square of the length.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "cpu/attention/chunks.h"
#include "cpu/attention/mask.h"
#include "cpu/attention/panels.h"
#include "cpu/simd/lane_pairs.h"
#include "cpu/threefry.h"
#include "plan/attention_problem.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline constexpr int64_t kBlockRows = 64;
inline constexpr int64_t kScoreRow =
    kChunk + kPad;                    // not a power of two: columns of a score tile spread over the cache
inline constexpr int64_t kTall = 32;  // rows and keys of a strip of pairs (pairs.h)
inline constexpr int64_t kStrips = (kBlockRows + kTileRows - 1) / kTileRows;

struct Span {
  int64_t low = 0, high = 0;
  bool empty() const { return low >= high; }
  bool operator==(const Span&) const = default;
};

inline Span join(Span a, Span b) {
  if (a.empty()) return b;
  return b.empty() ? a : Span{std::min(a.low, b.low), std::max(a.high, b.high)};
}

inline Span clip(Span a, int64_t low, int64_t high) { return {std::max(a.low, low), std::min(a.high, high)}; }

// Grown to whole units on both sides.
inline Span widen(Span a, int64_t unit) { return {a.low / unit * unit, round_up(a.high, unit)}; }

// Up to kBlockRows of the rows of sample b and the query heads [first_head, first_head + heads), head after head. The
// heads share one key/value head.
struct Block {
  int64_t b, group, rows;
  int64_t head[kBlockRows], index[kBlockRows];  // of each row: query head and position
  Range range[kBlockRows];
  Span visible;  // every visible key of every row

  Block(const Problem& p, const Visibility& visibility, int64_t b, int64_t first_head, int64_t heads, int64_t number)
      : b(b), group(first_head / p.heads_per_group()) {
    const int64_t first = number * kBlockRows;
    rows = std::min(kBlockRows, heads * p.queries - first);
    int64_t at_head = first_head + first / p.queries, at = first % p.queries;
    for (int64_t r = 0; r < rows; ++r) {
      head[r] = at_head;
      index[r] = at;
      if (++at == p.queries) at = 0, ++at_head;
      range[r] = visibility.range(b, head[r], index[r]);
      visible = join(visible, {range[r].low, range[r].high});
    }
  }

  static int64_t count(const Problem& p, int64_t heads) { return (heads * p.queries + kBlockRows - 1) / kBlockRows; }
};

// The visible keys of a block inside one chunk, relative to its first key.
struct Window {
  int64_t first, keys;
  Span row[kBlockRows], strip[kStrips], tall[kBlockRows / kTall], all;

  Window(const Problem& p, const Block& block, int64_t chunk)
      : first(chunk * kChunk), keys(std::min(kChunk, p.keys - first)) {
    for (int64_t r = 0; r < block.rows; ++r)
      row[r] = clip({block.range[r].low - first, block.range[r].high - first}, 0, keys);
    for (int64_t r = 0; r < block.rows; r += kTileRows) strip[r / kTileRows] = join_rows(block, r, kTileRows);
    for (int64_t r = 0; r < block.rows; r += kTall) {
      tall[r / kTall] = join_rows(block, r, kTall);
      all = join(all, tall[r / kTall]);
    }
    all = widen(all, kTall);
  }

  Span join_rows(const Block& block, int64_t r, int64_t n) const {
    Span rows;
    for (int64_t i = r; i < std::min(r + n, block.rows); ++i) rows = join(rows, row[i]);
    return rows;
  }

  Span none() const { return {all.low, all.low}; }
  bool is_whole() const { return all.low == 0 && all.high >= keys; }  // every key of the chunk is in it
};

inline void store_rows(const Problem& p, const float* from, int64_t stride, const Block& block, int64_t depth,
                       const Rows& rows, void* data) {
  const int64_t bytes = static_cast<int64_t>(dtype_bytes(p.dtype));
  const auto row = [&](int64_t r) {
    return static_cast<char*>(data) + rows.at(block.b, block.index[r], block.head[r]) * bytes;
  };
  for (int64_t r = 0; r < block.rows; ++r, from += stride) {
    if (r + kRowsAhead < block.rows) prefetch_for_writing(row(r + kRowsAhead), depth * bytes);
    store_row(p.dtype, from, depth, row(r));
  }
}

// Asks for rows of an operand that will be read soon.
inline void prefetch_rows(const Problem& p, const void* data, const Rows& rows, const Block& block, int64_t depth) {
  const int64_t bytes = static_cast<int64_t>(dtype_bytes(p.dtype));
  for (int64_t r = 0; r < block.rows; ++r) {
    const int64_t at = rows.at(block.b, block.index[r], block.head[r]) * bytes;
    prefetch_bytes(static_cast<const char*>(data) + at, depth * bytes);
  }
}

inline void add_scaled(float factor, const float* from, int64_t n, float* to) {
#pragma omp simd
  for (int64_t c = 0; c < n; ++c) to[c] += factor * from[c];
}

// Adds what multiply_rows left out: the rows that are not finite, to the sums of the queries that see them (see
// kLeastWeight).
inline void multiply_given_rows(const Problem& p, const void* data, const Rows& rows, const ChunkOwners& chunk,
                                const Block& block, const Window& window, const float* weights, float* sum) {
  const Span seen = clip(window.all, 0, window.keys);
  for (int64_t j = seen.low; j < seen.high; ++j) {
    const float* given = chunk.unless_finite(p, data, rows, block.b, block.group, window.first + j);
    if (!given) continue;
    for (int64_t r = 0; r < block.rows; ++r) {
      const bool inside = j >= window.row[r].low && j < window.row[r].high;
      const float weight = weights[r * kScoreRow + j];
      if (inside && weight != 0) add_scaled(weight, given, chunk.stride(), sum + r * chunk.stride());
    }
  }
}

// The least weight of a key that a query sees where something is not finite: above 0, since only what is hidden has
// weight 0, and too small to show beside numbers.
inline constexpr float kLeastWeight = std::numeric_limits<float>::denorm_min();

// Fills what `inner` leaves of `outer`.
template <class Number>
inline void fill_around(Span inner, Span outer, Number value, Number* row) {
  if (outer.low < inner.low) std::fill(row + outer.low, row + inner.low, value);
  if (inner.high < outer.high) std::fill(row + inner.high, row + outer.high, value);
}

// Working memory of one row of scores.
struct RowBuffers {
  float numbers[kChunk];
  uint8_t hidden[kChunk];
};

// How scores that come unscaled from the product are scaled: by finish_scores, or later, within the exponential, where
// nothing is added to them before. One of the two is 1.
struct ScoreScale {
  float now, later;
  ScoreScale(const Problem& p, const Block& block, int64_t r, bool unscaled)
      : now(unscaled ? p.scale : 1.0f), later(1) {
    if (!p.has_bias && !block.range[r].holes && now > 0) std::swap(now, later);
  }
};

// Multiplies a row's span by `scale`, adds the bias, and puts -inf where that is -inf, whatever the key holds, and
// where the row's query sees nothing.
[[gnu::noinline]] inline void change_scores(const Problem& p, const Call& call, const Visibility& visibility,
                                            const Block& block, const Window& window, int64_t r, float scale,
                                            float* row, RowBuffers* buffers) {
  const Span span = window.row[r];
  float* to = row + span.low;
  const int64_t n = span.high - span.low;
  if (scale != 1) {
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) to[j] *= scale;
  }
  if (p.has_bias) {
    const int64_t batch = p.bias_batch > 1 ? block.b : 0, head = p.bias_heads > 1 ? block.head[r] : 0;
    const int64_t at = ((batch * p.bias_heads + head) * p.queries + block.index[r]) * p.keys + window.first + span.low;
    load_row(p.bias_dtype, static_cast<const char*>(call.in[p.operands.bias]) + at * dtype_bytes(p.bias_dtype), n,
             buffers->numbers);
    if (p.dtype == DType::bfloat16)
      for (int64_t j = 0; j < n; ++j) buffers->numbers[j] = plain_nan(buffers->numbers[j]);
    const float bias_scale = p.bias_scale;
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) {
      const float bias = bias_scale * buffers->numbers[j];
      to[j] = bias == -kInfinity ? bias : to[j] + bias;
    }
  }
  if (block.range[r].holes) {
    visibility.hidden_keys(block.b, block.head[r], block.index[r], window.first + span.low, window.first + span.high,
                           buffers->hidden);
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) to[j] = buffers->hidden[j] ? -kInfinity : to[j];
  }
}

// Makes scores of the products of row r: change_scores, and -inf around the span over `wide`, which is in whole
// vectors.
inline void finish_scores(const Problem& p, const Call& call, const Visibility& visibility, const Block& block,
                          const Window& window, int64_t r, Span wide, float scale, float* row, RowBuffers* buffers) {
  const Span span = window.row[r];
  if (span.empty()) return std::fill(row + wide.low, row + wide.high, -kInfinity);
  if (scale != 1 || p.has_bias || block.range[r].holes)
    change_scores(p, call, visibility, block, window, r, scale, row, buffers);
  fill_around(span, wide, -kInfinity, row);
}

// keep / (1 - rate) for the keys of a row's span, 0 for the others of `wide`.
inline const float* dropout_factors(const Problem& p, const Call& call, const Block& block, const Window& window,
                                    int64_t r, Span wide, RowBuffers* buffers) {
  float* factors = buffers->numbers;
  std::fill(factors, factors + (wide.high - wide.low), 0.0f);
  const uint32_t* key = call.input<uint32_t>(p.operands.key);
  const Span span = window.row[r];
  if (span.empty()) return factors;
  const int64_t first = p.counter(block.b, block.head[r], block.index[r]) + window.first + span.low;
  threefry_dropout_row(key[0], key[1], static_cast<uint64_t>(first), span.high - span.low, p.dropout,
                       factors + (span.low - wide.low));
  return factors;
}

// A row of scores that are to become weights, exp(score * scale - largest). `least`: kLeastWeight or 0.
struct ScoreRow {
  float* scores;
  float scale, largest, least;
  const float* factors;  // of dropout, or nullptr
};

// Scores that are to become weights, exp(score * scale - max) * share, and gradients of weights that are to become
// those of the scores.
struct GradientRow {
  float *weights, *dscores;
  float scale, max, share, mean;
  const float* factors;  // of dropout, or nullptr
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
