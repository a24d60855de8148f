// attention: out = softmax(scale * q k^T + bias over visible keys) v, and of every row of scores (the sink is one of
// them) the largest and the sum of exp(score - largest), with an online softmax over chunks of keys. Few queries with
// many keys, as in decoding, are split along the keys too.
// te: also avx512_bf16
#include "cpu/attention/floats.h"
#include "cpu/attention/pairs.h"
#include "cpu/simd/lane_math.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// The online softmax of a block's rows: the largest score so far, and the sums of exp(score - largest) and of that
// times the value. least: kLeastWeight when a value was not finite, else 0.
struct Sums {
  float *sum, *largest, *total, *least;

  Sums(int64_t value_stride, Carver& carver)
      : sum(carver.take(kBlockRows * value_stride)),
        largest(carver.take(kBlockRows)),
        total(carver.take(kBlockRows)),
        least(carver.take(1)) {}
};

// Working memory of one thread.
template <class A>
struct ForwardScratch {
  typename A::Chunks keys, values;
  typename A::Number* q;
  float* scores;
  typename A::Weights kept;
  Sums own;
  RowBuffers* row;

  void forget() { keys.forget(), values.forget(); }

  ForwardScratch(const Problem& p, int64_t slots, Carver& carver)
      : keys(carver, p.keys, p.depth, slots, false, true),
        values(carver, p.keys, p.value_depth, slots, true, false),
        q(carver.take<typename A::Number>(kBlockRows * keys.stride())),
        scores(carver.take(kBlockRows * kScoreRow)),
        kept(carver),
        own(values.stride(), carver),
        row(carver.take<RowBuffers>(1)) {}
};

// A: the arithmetic, FloatArithmetic or PairArithmetic.
template <class A>
class Attention : public Kernel {
 public:
  explicit Attention(const Problem& problem) : p_(problem), threads_(num_threads()) {
    // Keys stay unpacked in scratch when several blocks of queries use them.
    const int64_t blocks = Block::count(p_, p_.heads_per_group());
    slots_ = blocks > 1 ? std::max<int64_t>(1, ChunkOwners::chunks(p_.keys)) : 1;
    Carver carver(nullptr);
    const ForwardScratch<A> scratch(p_, slots_, carver);
    thread_bytes_ = carver.used();
    value_stride_ = scratch.values.stride();
    Carver sums(nullptr);
    Sums(value_stride_, sums);
    sums_bytes_ = sums.used();
    const int64_t heads = std::max<int64_t>(1, p_.batch * p_.groups), total = heads * std::max<int64_t>(1, blocks);
    pieces_ = std::clamp<int64_t>(4 * threads_ / heads, 1, std::max<int64_t>(1, blocks / 4));
    // By a rule that ignores the threads, so that sums run in the same order on every machine.
    splits_ = std::clamp<int64_t>(ChunkOwners::chunks(p_.keys) / kSplitChunks, 1, std::max<int64_t>(1, kItems / total));
    if (splits_ > 1) pieces_ = std::max<int64_t>(1, blocks);
  }

  size_t scratch_bytes() const override {
    const int64_t partial = splits_ > 1 ? p_.batch * p_.groups * pieces_ * splits_ : 0;
    return table_bytes() + thread_bytes_ * threads_ + sums_bytes_ * partial;
  }

  void run(const Call& call) override {
    const Visibility visibility(p_, call, call.scratch);
    const int64_t heads = p_.batch * p_.groups, blocks = Block::count(p_, p_.heads_per_group());
    for (int64_t worker = 0; worker < threads_; ++worker) scratch_of(call, worker).forget();
    // Each thread begins with heads of its own. Those of another lie beside them in every row: two threads that write
    // to neighbours take lines from each other that they have not asked for yet.
    parallel_for_each(heads * pieces_ * splits_, [&](int64_t item) {
      ForwardScratch<A> scratch = scratch_of(call, worker());
      // The last rows of a causal mask see the most keys: they go first.
      const int64_t split = item % splits_, head = item / splits_ / pieces_;
      const int64_t piece = pieces_ - 1 - item / splits_ % pieces_;
      for (int64_t i = blocks * (piece + 1) / pieces_; i-- > blocks * piece / pieces_;) {
        const Block block = block_of(visibility, head, i);
        Sums sums = splits_ > 1 ? partial(call, (head * blocks + i) * splits_ + split) : scratch.own;
        add_keys(call, visibility, block, split, scratch, sums);
        if (splits_ == 1) finish(call, block, sums);
      }
    });
    if (splits_ > 1) join_splits(call, visibility, heads, blocks);
  }

 private:
  static constexpr int64_t kItems = 8, kSplitChunks = 4, kRowsAtOnce = 8;

  size_t table_bytes() const { return static_cast<size_t>(round_up(Visibility::table_bytes(p_), 64)); }

  ForwardScratch<A> scratch_of(const Call& call, int64_t worker) const {
    Carver carver(static_cast<char*>(call.scratch) + table_bytes() + worker * thread_bytes_);
    return {p_, slots_, carver};
  }

  Block block_of(const Visibility& visibility, int64_t head, int64_t number) const {
    const int64_t per_group = p_.heads_per_group();
    return {p_, visibility, head / p_.groups, head % p_.groups * per_group, per_group, number};
  }

  Sums partial(const Call& call, int64_t index) const {
    Carver carver(static_cast<char*>(call.scratch) + table_bytes() + thread_bytes_ * threads_ + index * sums_bytes_);
    return Sums(value_stride_, carver);
  }

  // Sums one split of the keys that the block sees.
  void add_keys(const Call& call, const Visibility& visibility, const Block& block, int64_t split, ForwardScratch<A>& s,
                Sums& sums) const {
    a_.load_query(p_, call, block, s.keys.stride(), s.q);
    std::fill(sums.sum, sums.sum + block.rows * value_stride_, 0.0f);
    std::fill(sums.largest, sums.largest + block.rows, -kInfinity);
    std::fill(sums.total, sums.total + block.rows, 0.0f);
    *sums.least = 0;
    const void* k = p_.packing == "qkv" ? call.in[0] : call.in[p_.operands.k];
    const void* v = p_.packing == "none" ? call.in[p_.operands.v] : k;
    const int64_t low = block.visible.low / kChunk, chunks = ChunkOwners::chunks(block.visible.high) - low;
    for (int64_t chunk = low + chunks * split / splits_; chunk < low + chunks * (split + 1) / splits_; ++chunk) {
      const Window window(p_, block, chunk);
      if (window.all.empty()) continue;
      s.keys.load(p_, k, p_.k, block.b, block.group, chunk);
      s.values.load(p_, v, p_.v, block.b, block.group, chunk);
      if (!s.values.finite()) *sums.least = kLeastWeight;
      a_.multiply_panels(block, window, s.q, s.keys.stride(), p_.depth, s.keys.panels(), s.scores);
      for (int64_t r = 0; r < block.rows; r += kRowsAtOnce)
        weights(call, visibility, block, window, r, std::min(r + kRowsAtOnce, block.rows), s, sums);
      a_.multiply_rows(block, window, s.scores, s.kept, s.values.rows(), value_stride_, sums.sum);
      if (!s.values.finite()) multiply_given_rows(p_, v, p_.v, s.values, block, window, s.scores, sums.sum);
    }
  }

  // Turns the scores of the rows [first, last) into exp(score - largest), having rescaled what was summed under the
  // previous largest. The largest of all rows come first: no row waits for its own.
  void weights(const Call& call, const Visibility& visibility, const Block& block, const Window& window, int64_t first,
               int64_t last, ForwardScratch<A>& s, Sums& sums) const {
    float top[kRowsAtOnce];
    for (int64_t r = first; r < last; ++r) {
      if (window.row[r].empty()) continue;
      const Span wide = widen(window.row[r], A::kUnit);
      const ScoreScale scale(p_, block, r, A::kScalesScores);
      float* row = s.scores + r * kScoreRow;
      finish_scores(p_, call, visibility, block, window, r, wide, scale.now, row, s.row);
      top[r - first] = largest_score(row, wide) * scale.later;
    }
    const float least = s.values.finite() ? 0.0f : kLeastWeight;
    for (int64_t r = first; r < last; ++r) {
      float* row = s.scores + r * kScoreRow;
      if (window.row[r].empty()) {
        a_.clear_weights(row, window.none(), window.all, r, s.kept);
        continue;
      }
      const Span wide = widen(window.row[r], A::kUnit);
      const float largest = std::max(sums.largest[r], top[r - first]), base = largest == -kInfinity ? 0.0f : largest;
      const float* factors = p_.dropout > 0 ? dropout_factors(p_, call, block, window, r, wide, s.row) : nullptr;
      const ScoreScale scale(p_, block, r, A::kScalesScores);
      const float total = a_.weigh({row, scale.later, base, least, factors}, wide, window.all, r, s.kept);
      // Nothing was summed under -inf.
      if (largest != sums.largest[r] && sums.largest[r] != -kInfinity)
        rescale(simd_exp(sums.largest[r] - base), r, sums);
      sums.largest[r] = largest;
      sums.total[r] += total;
    }
  }

  static float largest_score(const float* row, Span wide) {
    Lanes top[4];
    for (Lanes& lanes : top) lanes = lanes_at<Lanes>(row + wide.low);
    int64_t j = wide.low;
    for (; j + 4 * kLanes <= wide.high; j += 4 * kLanes) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) top[i] = larger_of(top[i], lanes_at<Lanes>(row + j + i * kLanes));
    }
    for (; j < wide.high; j += kLanes) top[0] = larger_of(top[0], lanes_at<Lanes>(row + j));
    return largest_lane(larger_of(larger_of(top[0], top[1]), larger_of(top[2], top[3])));
  }

  // exp(x), at once where it is 1 or 0.
  static float exp_of(float x) { return x == 0 ? 1.0f : x == -kInfinity ? 0.0f : std::exp(x); }

  void rescale(float factor, int64_t r, Sums& sums) const {
    factor = std::max(factor, *sums.least);
    sums.total[r] *= factor;
    float* sum = sums.sum + r * value_stride_;
    for (int64_t c = 0; c < value_stride_; ++c) sum[c] *= factor;
  }

  void join_splits(const Call& call, const Visibility& visibility, int64_t heads, int64_t blocks) const {
    parallel_for(heads * blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t item = begin; item < end; ++item) {
        const Block block = block_of(visibility, item / blocks, item % blocks);
        Sums sums = partial(call, item * splits_);
        for (int64_t split = 1; split < splits_; ++split) {
          Sums more = partial(call, item * splits_ + split);
          for (int64_t r = 0; r < block.rows; ++r) join_row(r, sums, more);
          *sums.least = std::max(*sums.least, *more.least);
        }
        finish(call, block, sums);
      }
    });
  }

  void join_row(int64_t r, Sums& sums, Sums& more) const {
    const float largest = std::max(sums.largest[r], more.largest[r]), base = largest == -kInfinity ? 0.0f : largest;
    rescale(std::exp(sums.largest[r] - base), r, sums);
    const float factor = std::max(std::exp(more.largest[r] - base), *more.least);
    sums.largest[r] = largest;
    sums.total[r] += factor * more.total[r];
    add_scaled(factor, more.sum + r * value_stride_, value_stride_, sums.sum + r * value_stride_);
  }

  // Divides by the sum of the exponentials. A row that sees nothing gives zeros, a largest score of -inf (or the sink)
  // and a sum of 0 (or 1).
  void finish(const Call& call, const Block& block, Sums& sums) const {
    for (int64_t r = 0; r < block.rows; ++r) {
      const float sink = p_.sink(call, block.head[r]), largest = std::max(sums.largest[r], sink);
      const float base = largest == -kInfinity ? 0.0f : largest;
      const float factor = std::max(exp_of(sums.largest[r] - base), *sums.least);
      const float total = sums.total[r] * factor + exp_of(sink - base);
      const float scale = total == 0 ? 0.0f : factor / total;
      float* sum = sums.sum + r * value_stride_;
      for (int64_t c = 0; c < value_stride_; ++c) sum[c] *= scale;
      const int64_t row = (block.b * p_.heads + block.head[r]) * p_.queries + block.index[r];
      call.output<float>(1)[row] = std::isnan(total) ? total : largest;  // comparisons pass over NaN
      call.output<float>(2)[row] = total;
    }
    store_rows(p_, sums.sum, value_stride_, block, p_.value_depth, p_.out, call.out[0]);
  }

  Problem p_;
  A a_;
  int64_t threads_, slots_, pieces_, splits_, value_stride_;
  size_t thread_bytes_, sums_bytes_;
};

std::unique_ptr<Kernel> prepare_attention(const Node& node, std::string* why) {
  Problem problem;
  if (!read_problem(node, kForwardOperands, &problem, why)) return nullptr;
  if (PairArithmetic::takes(problem)) return std::make_unique<Attention<PairArithmetic>>(problem);
  return std::make_unique<Attention<FloatArithmetic>>(problem);
}

}  // namespace
TE_KERNEL(attention, prepare_attention);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
