// attention: out = softmax(scale * q k^T + bias over visible keys) v and the log-sum-exp of the scores, with an online
// softmax over chunks of keys.
#include <atomic>

#include "cpu/attention_block.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Working memory of one thread.
struct ForwardScratch {
  KeyChunks keys, values;
  float *q, *sum, *scores, *largest, *total;
  RowBuffers* row;

  ForwardScratch(const Problem& p, int64_t slots, Carver& carver)
      : keys(carver, p.keys, p.depth, slots, false, true),
        values(carver, p.keys, p.value_depth, slots, true, false),
        q(carver.take(kBlockRows * keys.stride())),
        sum(carver.take(kBlockRows * values.stride())),
        scores(carver.take(kBlockRows * kScoreRow)),
        largest(carver.take(kBlockRows)),
        total(carver.take(kBlockRows)),
        row(carver.take<RowBuffers>(1)) {}
};

class Attention : public Kernel {
 public:
  explicit Attention(const Problem& problem) : p_(problem), threads_(num_threads()) {
    // Keys stay unpacked in scratch when several blocks of queries use them.
    const int64_t blocks = Block::count(p_, p_.heads_per_group());
    slots_ = blocks > 1 ? std::max<int64_t>(1, KeyChunks::chunks(p_.keys)) : 1;
    Carver carver(nullptr);
    ForwardScratch(p_, slots_, carver);
    thread_bytes_ = carver.used();
    const int64_t heads = std::max<int64_t>(1, p_.batch * p_.groups);
    pieces_ = std::clamp<int64_t>(4 * threads_ / heads, 1, std::max<int64_t>(1, blocks / 4));
  }

  size_t scratch_bytes() const override { return table_bytes() + thread_bytes_ * threads_; }

  void run(const Call& call) override {
    const Visibility visibility(p_, call, call.scratch);
    const int64_t heads = p_.batch * p_.groups, per_group = p_.heads_per_group(), blocks = Block::count(p_, per_group);
    std::atomic<int64_t> next{0};
    parallel_for(threads_, 1, [&](int64_t worker, int64_t) {
      Carver carver(static_cast<char*>(call.scratch) + table_bytes() + worker * thread_bytes_);
      ForwardScratch scratch(p_, slots_, carver);
      scratch.keys.forget();
      scratch.values.forget();
      for (int64_t item; (item = next++) < heads * pieces_;) {
        // The last rows of a causal mask see the most keys: they go first.
        const int64_t head = item / pieces_, piece = pieces_ - 1 - item % pieces_;
        for (int64_t i = blocks * (piece + 1) / pieces_; i-- > blocks * piece / pieces_;) {
          const Block rows(p_, visibility, head / p_.groups, head % p_.groups * per_group, per_group, i);
          block(call, visibility, rows, scratch);
        }
      }
    });
  }

 private:
  size_t table_bytes() const { return static_cast<size_t>(round_up(Visibility::table_bytes(p_), 64)); }

  void block(const Call& call, const Visibility& visibility, const Block& block, ForwardScratch& s) const {
    load_rows(p_, call.in[0], p_.q, block, p_.depth, s.keys.stride(), s.q);
    for (int64_t i = 0; i < block.rows * s.keys.stride(); ++i) s.q[i] *= p_.scale;
    std::fill(s.sum, s.sum + block.rows * s.values.stride(), 0.0f);
    std::fill(s.largest, s.largest + block.rows, -kInfinity);
    std::fill(s.total, s.total + block.rows, 0.0f);
    const void* k = p_.packing == "qkv" ? call.in[0] : call.in[p_.operands.k];
    const void* v = p_.packing == "none" ? call.in[p_.operands.v] : k;
    for (int64_t chunk = block.visible.low / kChunk; chunk * kChunk < block.visible.high; ++chunk) {
      const Window window(p_, block, chunk);
      if (window.all.empty()) continue;
      s.keys.load(p_, k, p_.k, block.b, block.group, chunk);
      s.values.load(p_, v, p_.v, block.b, block.group, chunk);
      multiply_panels(block, window, s.q, s.keys.stride(), p_.depth, s.keys.panels(), s.scores);
      for (int64_t r = 0; r < block.rows; ++r) weights(call, visibility, block, window, r, s);
      multiply_rows(block, window, s.scores, s.values.rows(), s.values.stride(), s.sum);
      if (!s.values.finite()) multiply_given_rows(p_, v, p_.v, s.values, block, window, s.scores, s.sum);
    }
    finish(call, block, s);
  }

  // Turns the scores of row r into exp(score - largest), having rescaled what was summed under the previous largest.
  void weights(const Call& call, const Visibility& visibility, const Block& block, const Window& window, int64_t r,
               ForwardScratch& s) const {
    float* row = s.scores + r * kScoreRow;
    const Span span = window.row[r], wide = widen(span, kLanes);
    if (span.empty()) {
      std::fill(row + window.all.low, row + window.all.high, 0.0f);
      return;
    }
    finish_scores(p_, call, visibility, block, window, r, row, s.row);
    Vector top = vector_at(row + wide.low);
    for (int64_t j = wide.low + kLanes; j < wide.high; j += kLanes) {
      const Vector& x = vector_at(row + j);
      top = top > x ? top : x;
    }
    float largest = s.largest[r];
    for (int lane = 0; lane < kLanes; ++lane) largest = std::max(largest, top[lane]);
    const float base = largest == -kInfinity ? 0.0f : largest;
    float total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t j = wide.low; j < wide.high; ++j) {
      row[j] = weight_exp(row[j] - base);
      total += row[j];
    }
    std::fill(row + window.all.low, row + wide.low, 0.0f);
    std::fill(row + wide.high, row + window.all.high, 0.0f);
    if (largest != s.largest[r]) rescale(simd_exp(s.largest[r] - base), r, s);
    s.largest[r] = largest;
    s.total[r] += total;
    if (p_.dropout > 0) {
      float* factors = s.row->numbers;
      dropout_factors(p_, call, block, window, r, factors);
      for (int64_t j = span.low; j < span.high; ++j) row[j] *= factors[j - span.low];
    }
  }

  void rescale(float factor, int64_t r, ForwardScratch& s) const {
    s.total[r] *= factor;
    float* sum = s.sum + r * s.values.stride();
    for (int64_t c = 0; c < s.values.stride(); ++c) sum[c] *= factor;
  }

  // Divides by the sum of the exponentials. A row that sees nothing gives zeros and a log-sum-exp of -inf (or the
  // sink).
  void finish(const Call& call, const Block& block, ForwardScratch& s) const {
    for (int64_t r = 0; r < block.rows; ++r) {
      const float sink = p_.sink(call, block.head[r]), largest = std::max(s.largest[r], sink);
      const float base = largest == -kInfinity ? 0.0f : largest;
      const float factor = std::exp(s.largest[r] - base);
      const float total = s.total[r] * factor + std::exp(sink - base);
      const float scale = total == 0 ? 0.0f : factor / total;
      float* sum = s.sum + r * s.values.stride();
      for (int64_t c = 0; c < s.values.stride(); ++c) sum[c] *= scale;
      call.output<float>(1)[(block.b * p_.heads + block.head[r]) * p_.queries + block.index[r]] =
          base + std::log(total);
    }
    store_rows(p_, s.sum, s.values.stride(), block, p_.value_depth, p_.out, call.out[0]);
  }

  Problem p_;
  int64_t threads_, slots_, pieces_;
  size_t thread_bytes_;
};

std::unique_ptr<Kernel> prepare_attention(const Node& node, std::string* why) {
  Problem problem;
  if (!read_problem(node, kForwardOperands, &problem, why)) return nullptr;
  return std::make_unique<Attention>(problem);
}

}  // namespace
TE_KERNEL(attention, prepare_attention);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
