// The rows that one block of a forward kernel computes, and how it ends them: out and the statistics, or with keys that
// are split among blocks the sums so far.
#pragma once
#include "cuda/attention/operands.cuh"

namespace te::cuda::attention {

// Row r of a block of folded heads.
struct FoldedRow {
  bool inside;
  int i;
  Head head;
  __device__ FoldedRow(const Operands& a, const Head& first, int r)
      : inside(r < a.fold * a.queries), i(inside ? r : 0), head(first) {
    if (a.fold == 1 || !inside) return;
    head.head += r / a.queries;
    i = r % a.queries;
  }
};

// Rows [first, first + rows) of one head, or of `fold` heads of one group, and the tiles of keys that they may see.
struct ForwardBlock {
  Head head;
  int first, rows, split;
  Span tiles;

  __device__ ForwardBlock(const Operands& a, int rows) : rows(rows) {
    const int blocks = (a.fold * a.queries + rows - 1) / rows, heads = a.heads / a.fold;
    int rest = blockIdx.x;
    split = rest % a.splits, rest /= a.splits;
    first = (blocks - 1 - rest % blocks) * rows, rest /= blocks;  // with a causal mask the longest rows go first
    head = {rest / heads, rest % heads * a.fold};
    tiles = key_tiles_of(a, a.fold > 1 ? Span{0, a.queries} : Span{first, min(first + rows, a.queries)});
    if (a.splits > 1) {
      const int low = tiles.first, n = tiles.last - tiles.first;
      tiles = {low + static_cast<int>(static_cast<int64_t>(n) * split / a.splits),
               low + static_cast<int>(static_cast<int64_t>(n) * (split + 1) / a.splits)};
    }
  }
  // Says whether infinities, or sums beyond their range, have spoilt 64 of the rows: simple.cuh computes them again, in
  // blocks of that size.
  __device__ void mark(const Operands& a, int row, bool spoilt) const {
    const int blocks = (a.fold * a.queries + kTile - 1) / kTile, heads = a.heads / a.fold;
    const int number = (head.b * heads + head.head / a.fold) * blocks + blocks - 1 - row / kTile;
    if (row < a.fold * a.queries) a.spoilt[static_cast<int64_t>(number) * a.splits + split] = spoilt;
  }
  // Of all of the block's queries against a tile of keys.
  __device__ TileState state(const Operands& a, int tile) const {
    if (!a.states) return TileState::mixed;
    const int last = a.fold > 1 ? a.query_tiles() - 1 : min((first + rows - 1) / kTile, a.query_tiles() - 1);
    const TileState state = head.state(a, a.fold > 1 ? 0 : first / kTile, tile);
    for (int t = (a.fold > 1 ? 0 : first / kTile) + 1; t <= last; ++t)
      if (head.state(a, t, tile) != state) return TileState::mixed;
    return state;
  }
};

// Ends a row whose scores were at most `largest`, with `total` = Σ exp(score - largest).
template <class T>
class RowEnd {
 public:
  __device__ RowEnd(const Operands& a, const ForwardBlock& block, const FoldedRow& row, float largest, float total,
                    bool writes)
      : partial_(nullptr), out_(nullptr), scale_(1) {
    const int64_t at = row.head.row(a, row.i);
    if (a.splits > 1) {
      partial_ = a.partial + (block.split * a.rows() + at) * a.value_depth;
      if (!writes) return;
      float* statistics = a.partial_statistics() + (block.split * a.rows() + at) * 2;
      statistics[0] = largest;
      statistics[1] = total;
      return;
    }
    out_ = static_cast<T*>(a.out) + a.out_rows.at(row.head.b, row.i, row.head.head);
    finish(a, row.head.head, at, largest, total, writes);
  }
  // Of a row whose parts were put together.
  __device__ RowEnd(const Operands& a, const Head& h, int i, float largest, float total, bool writes)
      : partial_(nullptr), out_(static_cast<T*>(a.out) + a.out_rows.at(h.b, i, h.head)) {
    finish(a, h.head, h.row(a, i), largest, total, writes);
  }
  __device__ void store(int column, float sum) const {
    if (partial_)
      partial_[column] = sum;
    else
      out_[column] = rounded<T>(sum * scale_);
  }
  __device__ float scale() const { return scale_; }
  __device__ T* out() const { return out_; }
  // Two columns, the first of which is even, of rows of an even width.
  __device__ void store_pair(int column, float low, float high) const {
    if (partial_)
      *reinterpret_cast<float2*>(partial_ + column) = make_float2(low, high);
    else
      *reinterpret_cast<Pair*>(out_ + column) = {rounded<T>(low * scale_), rounded<T>(high * scale_)};
  }

 private:
  struct alignas(2 * sizeof(T)) Pair {
    T low, high;
  };

  // Adds the sink. A row that sees nothing gives zeros, a largest score of -inf (or the sink) and a sum of 0 (or 1).
  __device__ void finish(const Operands& a, int head, int64_t row, float largest, float total, bool writes) {
    const float sink = a.sink ? a.sink[head] : a.off_by_one ? 0.0f : -infinity();
    const float top = fmaxf(largest, sink), base = top == -infinity() ? 0.0f : top;
    const float factor = fmaxf(expf(largest - base), kLeastWeight);
    const float all = total * factor + expf(sink - base);
    scale_ = all == 0 ? 0.0f : factor / all * a.kept;
    if (!writes) return;
    a.max[row] = std::isnan(all) ? all : top;  // comparisons pass over NaN
    a.sum[row] = all;
  }

  float* partial_;
  T* out_;
  float scale_;
};

}  // namespace te::cuda::attention
