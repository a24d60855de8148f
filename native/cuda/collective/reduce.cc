// What processes combine, each with its own part x: added, or the largest or smallest of each element.
//   all_reduce(x) → y, all x combined          reduce_scatter(x[p, ...]) → y, the members' x[place] combined
// In the order of the members, and rounded once, so that all get the same bits in every run, those that CPUs get too.
// NCCL's own reductions give other bits for other numbers of members and other machines; so it moves the parts, as many
// bytes as a ring would, and we combine them.
#include <algorithm>

#include "cuda/collective/combine.h"
#include "cuda/collective/node.h"

namespace te::cuda {
namespace {

constexpr int64_t kSmallBytes = 1 << 18;    // up to here every member combines everything: one exchange instead of two
constexpr int64_t kPieceBytes = 1 << 23;    // that a member sends another before it combines what has come
constexpr int64_t kScratchBytes = 1 << 28;  // for the pieces of all, where there are many
constexpr int64_t kAlign = 64;

int64_t aligned(int64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

// The elements are shared out among the members, who combine theirs piece by piece. The few that all_reduce cannot
// share out evenly, a tail, everyone combines.
class Reduce : public Exchange {
 public:
  Reduce(const RankGroup& group, uint64_t digest, Reduction reduction, const Aval& x, bool scatters)
      : Exchange(group, digest),
        reduction_(reduction),
        type_(x.dtype),
        width_(static_cast<int64_t>(dtype_bytes(x.dtype))),
        size_(x.size()),
        members_(group.size()),
        place_(group.place),
        scatters_(scatters) {
    if (scatters)
      share_ = size_ / members_;
    else if (size_ * width_ > kSmallBytes)
      share_ = size_ / members_ / (kAlign / width_) * (kAlign / width_);
    tail_ = size_ - share_ * members_;
    const int64_t most = std::clamp(kScratchBytes / members_ / kAlign * kAlign, kAlign, kPieceBytes);
    piece_ = std::min(share_, most / width_);
  }

  size_t scratch_bytes() const override { return static_cast<size_t>(members_ * (slot(piece_) + slot(tail_))); }

  void run(const Call& call) override {
    if (size_ == 0) return;
    collective_.run([&] {
      int64_t first = 0;
      do {
        exchange(call, first);
        first += piece_;
      } while (first < share_);
      if (!scatters_ && share_ > 0)
        collective_.all_gather(call.output<char>(0) + place_ * share_ * width_, call.out[0],
                               static_cast<size_t>(share_ * width_));
    });
  }

 private:
  int64_t slot(int64_t elements) const { return aligned(elements * width_); }

  // Everyone's piece that begins at `first` of its share; with the first one the tail.
  void exchange(const Call& call, int64_t first) {
    const char* x = call.input<char>(0);
    char *pieces = static_cast<char*>(call.scratch), *tails = pieces + members_ * slot(piece_);
    const int64_t n = std::min(piece_, share_ - first), tail = first == 0 ? tail_ : 0;
    const auto own = [&](int64_t k) { return x + (k * share_ + first) * width_; };
    const char* own_tail = x + members_ * share_ * width_;
    std::vector<Parcel> parcels;
    for (int64_t k = 0; k < members_; ++k) {
      if (k == place_) continue;
      const auto bytes = static_cast<size_t>(n * width_), tail_bytes = static_cast<size_t>(tail * width_);
      parcels.push_back({k, own(k), bytes, pieces + k * slot(piece_), bytes});
      parcels.push_back({k, own_tail, tail_bytes, tails + k * slot(tail_), tail_bytes});
    }
    collective_.exchange(parcels);
    char* to = call.output<char>(0);
    const int64_t begin = scatters_ ? first : place_ * share_ + first;
    combine(reduction_, type_, {pieces, slot(piece_), own(place_), place_, members_, to + begin * width_}, n);
    combine(reduction_, type_, {tails, slot(tail_), own_tail, place_, members_, to + members_ * share_ * width_}, tail);
  }

  Reduction reduction_;
  DType type_;
  int64_t width_, size_, members_, place_;
  int64_t share_ = 0, tail_ = 0, piece_ = 0;  // elements: of each member, of everyone, of an exchange
  bool scatters_;
};

std::unique_ptr<Kernel> prepare_reduce(const Node& node, bool scatters, std::string* why) {
  RankGroup group;
  Reduction reduction;
  if (!read_own_group(node, &group, why) || !read_reduction(node, &reduction, why)) return nullptr;
  const Aval& x = node.inputs[0];
  if (group.size() == 1) return std::make_unique<Alone>(x.bytes());
  return std::make_unique<Reduce>(group, digest_of(node), reduction, x, scatters);
}

std::unique_ptr<Kernel> prepare_all_reduce(const Node& node, std::string* why) {
  return prepare_reduce(node, false, why);
}
std::unique_ptr<Kernel> prepare_reduce_scatter(const Node& node, std::string* why) {
  return prepare_reduce(node, true, why);
}

TE_CUDA_KERNEL(all_reduce, prepare_all_reduce);
TE_CUDA_KERNEL(reduce_scatter, prepare_reduce_scatter);

}  // namespace
}  // namespace te::cuda
