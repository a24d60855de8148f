// attention_bias_backward: the gradient of the scores, summed over the samples and heads that share a bias. A kernel
// of its own: only programs that want this gradient pay for it, and it needs no memory beyond its output.
// te: also avx512_bf16
#include "cpu/attention/gradient.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

template <class A>
struct BiasScratch : GradientScratch<A> {
  float* sum;  // kBlockRows rows of one chunk
  BiasScratch(const Problem& p, Carver& carver)
      : GradientScratch<A>(p, 1, false, carver), sum(carver.take(kBlockRows * kScoreRow)) {}
};

// A: the arithmetic, FloatArithmetic or PairArithmetic.
template <class A>
class AttentionBiasBackward : public Kernel {
 public:
  explicit AttentionBiasBackward(const Problem& problem) : p_(problem), threads_(num_threads()) {
    Carver carver(nullptr);
    BiasScratch<A> scratch(p_, carver);
    thread_bytes_ = carver.used();
  }

  size_t scratch_bytes() const override { return table_bytes() + thread_bytes_ * threads_; }

  void run(const Call& call) override {
    const Visibility visibility(p_, call, call.scratch);
    const int64_t blocks = Block::count(p_, 1), chunks = ChunkOwners::chunks(p_.keys);
    const int64_t items = p_.bias_batch * p_.bias_heads * blocks * chunks;
    const auto scratch_of = [&](int64_t worker) {
      Carver carver(static_cast<char*>(call.scratch) + table_bytes() + worker * thread_bytes_);
      return BiasScratch<A>(p_, carver);
    };
    for (int64_t worker = 0; worker < threads_; ++worker) scratch_of(worker).forget();
    parallel_for_each(items, [&](int64_t item) {
      BiasScratch<A> scratch = scratch_of(worker());
      const int64_t chunk = item % chunks, number = item / chunks % blocks, slice = item / chunks / blocks;
      tile(call, visibility, slice / p_.bias_heads, slice % p_.bias_heads, number, chunk, scratch);
    });
  }

 private:
  size_t table_bytes() const { return static_cast<size_t>(round_up(Visibility::table_bytes(p_), 64)); }

  // One tile of the gradient: block `number` of the queries against one chunk of keys.
  void tile(const Call& call, const Visibility& visibility, int64_t bias_b, int64_t bias_head, int64_t number,
            int64_t chunk, BiasScratch<A>& s) const {
    std::fill(s.sum, s.sum + kBlockRows * kScoreRow, 0.0f);
    const int64_t samples = p_.bias_batch > 1 ? 1 : p_.batch, heads = p_.bias_heads > 1 ? 1 : p_.heads;
    for (int64_t b = bias_b; b < bias_b + samples; ++b) {
      for (int64_t head = bias_head; head < bias_head + heads; ++head) {
        const Block block(p_, visibility, b, head, 1, number);
        const Window window(p_, block, chunk);
        if (window.all.empty()) continue;
        load_block(a_, p_, call, block, s);
        gradient_window(a_, p_, call, visibility, block, window, chunk, s, nullptr);
        for (int64_t r = 0; r < block.rows; ++r) {
          float *sum = s.sum + r * kScoreRow, *add = s.dscores + r * kScoreRow;
          for (int64_t j = window.all.low; j < window.all.high; ++j) sum[j] += add[j];
        }
      }
    }
    store(call, (bias_b * p_.bias_heads + bias_head) * p_.queries, number * kBlockRows, chunk * kChunk, s.sum);
  }

  void store(const Call& call, int64_t row, int64_t first_query, int64_t first_key, float* sum) const {
    const int64_t rows = std::min(kBlockRows, p_.queries - first_query), n = std::min(kChunk, p_.keys - first_key);
    for (int64_t r = 0; r < rows; ++r) {
      float* from = sum + r * kScoreRow;
      for (int64_t j = 0; j < n; ++j) from[j] *= p_.bias_scale;
      const int64_t at =
          ((row + first_query + r) * p_.keys + first_key) * static_cast<int64_t>(dtype_bytes(p_.bias_dtype));
      store_row(p_.bias_dtype, from, n, static_cast<char*>(call.out[0]) + at);
    }
  }

  Problem p_;
  A a_;
  int64_t threads_;
  size_t thread_bytes_;
};

std::unique_ptr<Kernel> prepare_attention_bias_backward(const Node& node, std::string* why) {
  Problem problem;
  if (!read_problem(node, kBackwardOperands, &problem, why)) return nullptr;
  if (PairArithmetic::takes(problem)) return std::make_unique<AttentionBiasBackward<PairArithmetic>>(problem);
  return std::make_unique<AttentionBiasBackward<FloatArithmetic>>(problem);
}

}  // namespace
TE_KERNEL(attention_bias_backward, prepare_attention_bias_backward);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
