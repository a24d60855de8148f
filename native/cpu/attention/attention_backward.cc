// attention_backward: dq, dk and dv (or the packed gradient) from out and the statistics of the rows,
// recomputing the probabilities. Sums run in an order that depends on the shapes alone, so repeats are equal to the
// bit.
// te: also avx512_bf16
#include "cpu/attention/gradient.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

template <class A>
struct BackwardScratch : GradientScratch<A> {
  typename A::Gradients kept;
  float* dq;
  BackwardScratch(const Problem& p, int64_t slots, Carver& carver)
      : GradientScratch<A>(p, slots, true, carver),
        kept(this->keys.stride(), this->values.stride(), carver),
        dq(carver.take(kBlockRows * this->keys.stride())) {}
};

// A: the arithmetic, FloatArithmetic or PairArithmetic.
template <class A>
class AttentionBackward : public Kernel {
 public:
  explicit AttentionBackward(const Problem& problem) : p_(problem), threads_(num_threads()) {
    const int64_t blocks = Block::count(p_, p_.heads_per_group()), heads = std::max<int64_t>(1, p_.batch * p_.groups);
    slots_ = blocks > 1 ? std::max<int64_t>(1, ChunkOwners::chunks(p_.keys)) : 1;
    Carver carver(nullptr);
    BackwardScratch<A> scratch(p_, slots_, carver);
    thread_bytes_ = carver.used();
    key_stride_ = scratch.keys.stride();
    value_stride_ = scratch.values.stride();
    key_rows_ = std::max<int64_t>(1, ChunkOwners::chunks(p_.keys)) * kScoreRow;
    // Few heads with many queries: several partial sums of dk and dv per head, by a rule that ignores the threads.
    pieces_ = std::clamp<int64_t>(kItems / heads, 1, std::max<int64_t>(1, blocks / 8));
  }

  size_t scratch_bytes() const override {
    return table_bytes() + thread_bytes_ * threads_ +
           sum_bytes() * (pieces_ > 1 ? p_.batch * p_.groups * pieces_ : threads_);
  }

  void run(const Call& call) override {
    const Visibility visibility(p_, call, call.scratch);
    const int64_t heads = p_.batch * p_.groups, blocks = Block::count(p_, p_.heads_per_group());
    char* const base = static_cast<char*>(call.scratch) + table_bytes();
    float* const sums = reinterpret_cast<float*>(base + thread_bytes_ * threads_);
    const auto scratch_of = [&](int64_t worker) {
      Carver carver(base + worker * thread_bytes_);
      return BackwardScratch<A>(p_, slots_, carver);
    };
    for (int64_t worker = 0; worker < threads_; ++worker) scratch_of(worker).forget();
    parallel_for_each(heads * pieces_, [&](int64_t item) {
      BackwardScratch<A> scratch = scratch_of(worker());
      const int64_t head = item / pieces_, piece = pieces_ - 1 - item % pieces_;
      float* sum = sums + (pieces_ > 1 ? head * pieces_ + piece : worker()) * sum_size();
      add_blocks(call, visibility, head, blocks * piece / pieces_, blocks * (piece + 1) / pieces_, scratch, sum);
      if (pieces_ == 1) store(call, head, sum, 0, p_.keys);
    });
    if (pieces_ > 1) join_pieces(call, sums);
  }

 private:
  static constexpr int64_t kItems = 8;

  size_t table_bytes() const { return static_cast<size_t>(round_up(Visibility::table_bytes(p_), 64)); }
  int64_t sum_size() const { return key_rows_ * (key_stride_ + value_stride_); }
  size_t sum_bytes() const { return static_cast<size_t>(sum_size()) * sizeof(float); }
  float* dv_of(float* sum) const { return sum + key_rows_ * key_stride_; }

  // What load_block will read.
  void prefetch_block(const Call& call, const Block& next) const {
    prefetch_rows(p_, call.in[0], p_.q, next, p_.depth);
    for (int operand : {p_.operands.dout, p_.operands.out})
      prefetch_rows(p_, call.in[operand], p_.out, next, p_.value_depth);
  }

  // Sums over the blocks [first, last) of a head. The last rows of a causal mask see all keys: they go first, and what
  // they give needs no sums to be added to.
  void add_blocks(const Call& call, const Visibility& visibility, int64_t head, int64_t first, int64_t last,
                  BackwardScratch<A>& s, float* sum) const {
    const int64_t per_group = p_.heads_per_group();
    const auto rows = [&](int64_t i) {
      return Block(p_, visibility, head / p_.groups, head % p_.groups * per_group, per_group, i);
    };
    if (first == last) std::fill(sum, sum + sum_size(), 0.0f);
    for (int64_t i = last; i-- > first;) {
      const Block now = rows(i);
      load_block(a_, p_, call, now, s);
      if (i > first) prefetch_block(call, rows(i - 1));
      if (i == last - 1) clear_unseen(now, sum);
      block(call, visibility, now, i == last - 1, s, sum);
    }
  }

  // Makes zeros of the sums of the chunks that the first block does not see all of.
  void clear_unseen(const Block& block, float* sum) const {
    for (int64_t chunk = 0; chunk < ChunkOwners::chunks(p_.keys); ++chunk) {
      const Window window(p_, block, chunk);
      if (window.is_whole()) continue;
      A::clear_sums(window, key_stride_, sum);
      A::clear_sums(window, value_stride_, dv_of(sum));
    }
  }

  void block(const Call& call, const Visibility& visibility, const Block& block, bool is_first, BackwardScratch<A>& s,
             float* sum) const {
    a_.keep_block(block, s.q, key_stride_, s.dout, value_stride_, s.kept);
    std::fill(s.dq, s.dq + block.rows * key_stride_, 0.0f);
    for (int64_t chunk = block.visible.low / kChunk; chunk * kChunk < block.visible.high; ++chunk) {
      const Window window(p_, block, chunk);
      if (window.all.empty()) continue;
      const bool add = !is_first || !window.is_whole();
      gradient_window(a_, p_, call, visibility, block, window, chunk, s, &s.kept);
      a_.add_queries(block, window, s.dscores, s.kept, s.keys.rows(), key_stride_, s.dq);
      a_.add_keys(block, window, s.dscores, s.q, s.kept, key_stride_, add, sum);
      a_.add_values(block, window, s.weights, s.dout, s.kept, value_stride_, add, dv_of(sum));
      if (!s.finite) add_given_rows(p_, call, block, window, s, dv_of(sum));
    }
    for (int64_t i = 0; i < block.rows * key_stride_; ++i) s.dq[i] *= p_.scale;
    store_rows(p_, s.dq, key_stride_, block, p_.depth, p_.q, call.out[0]);
  }

  // Rounds dk and dv of the keys [first, last) of one head into the outputs.
  void store(const Call& call, int64_t head, float* sum, int64_t first, int64_t last) const {
    const int64_t b = head / p_.groups, group = head % p_.groups, bytes = static_cast<int64_t>(dtype_bytes(p_.dtype));
    char* dk = static_cast<char*>(p_.packing == "qkv" ? call.out[0] : call.out[1]);
    char* dv = p_.packing == "none" ? static_cast<char*>(call.out[2]) : dk;
    A::for_keys(sum, first, last, key_stride_, [&](int64_t j, int64_t c, int64_t n, float* sums) {
      for (int64_t i = 0; A::kScalesScores && i < n; ++i) sums[i] *= p_.scale;
      if (j + kRowsAhead < last) prefetch_for_writing(dk + (p_.k.at(b, j + kRowsAhead, group) + c) * bytes, n * bytes);
      store_row(p_.dtype, sums, std::min(n, p_.depth - c), dk + (p_.k.at(b, j, group) + c) * bytes);
    });
    A::for_keys(dv_of(sum), first, last, value_stride_, [&](int64_t j, int64_t c, int64_t n, float* sums) {
      if (j + kRowsAhead < last) prefetch_for_writing(dv + (p_.v.at(b, j + kRowsAhead, group) + c) * bytes, n * bytes);
      store_row(p_.dtype, sums, std::min(n, p_.value_depth - c), dv + (p_.v.at(b, j, group) + c) * bytes);
    });
  }

  void join_pieces(const Call& call, float* sums) const {
    constexpr int64_t kKeys = 64;
    const int64_t strips = (p_.keys + kKeys - 1) / kKeys;
    parallel_for(p_.batch * p_.groups * strips, 1, [&](int64_t begin, int64_t end) {
      for (int64_t strip = begin; strip < end; ++strip) {
        const int64_t head = strip / strips, low = strip % strips * kKeys, high = std::min(p_.keys, low + kKeys);
        float* first = sums + head * pieces_ * sum_size();
        for (int64_t piece = 1; piece < pieces_; ++piece) {
          float* next = first + piece * sum_size();
          A::add_sums(next, low, high, key_stride_, first);
          A::add_sums(dv_of(next), low, high, value_stride_, dv_of(first));
        }
        store(call, head, first, low, high);
      }
    });
  }

  Problem p_;
  A a_;
  int64_t threads_, slots_, pieces_, key_rows_, key_stride_, value_stride_;
  size_t thread_bytes_;
};

std::unique_ptr<Kernel> prepare_attention_backward(const Node& node, std::string* why) {
  Problem problem;
  if (!read_problem(node, kBackwardOperands, &problem, why)) return nullptr;
  if (PairArithmetic::takes(problem)) return std::make_unique<AttentionBackward<PairArithmetic>>(problem);
  return std::make_unique<AttentionBackward<FloatArithmetic>>(problem);
}

}  // namespace
TE_KERNEL(attention_backward, prepare_attention_backward);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
