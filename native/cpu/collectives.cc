// What processes do together, each with its own part x. `ranks` are the members in order, `place` is this one's among
// them:
//   all_gather(x) → y[p, ...], the parts of all       all_to_all(x[p, ...]) → y[p, ...], y[j] what member j has at
//   `place` reduce_scatter(x[p, ...]) → y, the members' x[place] combined      all_reduce(x) → y, all x combined
// Combined is: added (16-bit floats in float32, rounded once), or the largest or smallest, in the order of the members,
// so that all of them get the same bits in every run.
#include <cmath>
#include <cstring>

#include "cpu/group.h"
#include "cpu/rows.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

constexpr int64_t kPieceBytes = 1 << 22;  // that a member sends another before it combines what has come
constexpr int64_t kSmallBytes = 1 << 16;  // up to here every member combines everything: one exchange instead of two
constexpr int64_t kTile = 512;

template <Reduction R, class T>
T combine(T a, T b) {
  if constexpr (R == Reduction::sum) return static_cast<T>(a + b);
  if (a != a) return a;  // NaN stays
  if constexpr (R == Reduction::max) return b > a || b != b ? b : a;
  return b < a || b != b ? b : a;
}

// Elements of the same place of several arrays, and where their combination goes.
struct Parts {
  DType type;
  std::vector<const void*> from;
  void* to;
};

template <Reduction R, class T>
void combine_integers(const Parts& parts, int64_t begin, int64_t end) {
  T* to = static_cast<T*>(parts.to);
  for (int64_t i = begin; i < end; ++i) {
    T all = static_cast<const T*>(parts.from[0])[i];
    for (size_t k = 1; k < parts.from.size(); ++k) all = combine<R>(all, static_cast<const T*>(parts.from[k])[i]);
    to[i] = all;
  }
}

template <Reduction R>
void combine_floats(const Parts& parts, int64_t begin, int64_t end) {
  alignas(64) float decoded[kTile], all[kTile];
  for (int64_t first = begin; first < end; first += kTile) {
    const int64_t n = std::min(kTile, end - first);
    std::memcpy(all, row_in(parts.type, parts.from[0], first, n, decoded), static_cast<size_t>(n) * sizeof(float));
    for (size_t k = 1; k < parts.from.size(); ++k) {
      const float* x = row_in(parts.type, parts.from[k], first, n, decoded);
      for (int64_t i = 0; i < n; ++i) all[i] = combine<R>(all[i], x[i]);
    }
    store_row(parts.type, all, n, at(parts.type, parts.to, first));
  }
}

template <Reduction R>
void combine_range(const Parts& parts, int64_t begin, int64_t end) {
  switch (parts.type) {
    case DType::int32:
      if constexpr (R != Reduction::sum) return combine_integers<R, int32_t>(parts, begin, end);
      [[fallthrough]];  // sums wrap around
    case DType::uint32:
      return combine_integers<R, uint32_t>(parts, begin, end);
    case DType::uint8:
    case DType::boolean:
      return combine_integers<R, uint8_t>(parts, begin, end);
    default:
      return combine_floats<R>(parts, begin, end);
  }
}

void combine_parts(Reduction reduction, const Parts& parts, int64_t n) {
  parallel_for(n, 1 << 14, [&](int64_t begin, int64_t end) {
    if (reduction == Reduction::sum) return combine_range<Reduction::sum>(parts, begin, end);
    if (reduction == Reduction::max) return combine_range<Reduction::max>(parts, begin, end);
    combine_range<Reduction::min>(parts, begin, end);
  });
}

class AllGather : public Collective {
 public:
  AllGather(Group group, size_t bytes) : group_(std::move(group)), bytes_(bytes) {}
  void run(const Call& call) override {
    const auto slot = [&](int64_t k) { return call.output<char>(0) + static_cast<size_t>(k) * bytes_; };
    std::memcpy(slot(group_.place), call.in[0], bytes_);
    exchange_with_all(group_, [&](int64_t k) { return Parcel{0, call.in[0], bytes_, slot(k), bytes_}; });
  }

 private:
  Group group_;
  size_t bytes_;
};

class AllToAll : public Collective {
 public:
  AllToAll(Group group, size_t bytes) : group_(std::move(group)), bytes_(bytes) {}
  void run(const Call& call) override {
    const auto from = [&](int64_t k) { return call.input<char>(0) + static_cast<size_t>(k) * bytes_; };
    const auto to = [&](int64_t k) { return call.output<char>(0) + static_cast<size_t>(k) * bytes_; };
    std::memcpy(to(group_.place), from(group_.place), bytes_);
    exchange_with_all(group_, [&](int64_t k) { return Parcel{0, from(k), bytes_, to(k), bytes_}; });
  }

 private:
  Group group_;
  size_t bytes_;  // of one of the p parts
};

// Both reductions: the elements are shared out among the members, who combine theirs piece by piece.
class Reduce : public Collective {
 public:
  Reduce(Group group, Reduction reduction, DType type, int64_t size, bool scatters)
      : group_(std::move(group)), reduction_(reduction), type_(type), size_(size), scatters_(scatters) {
    const int64_t width = static_cast<int64_t>(dtype_bytes(type_)), p = group_.size();
    is_small_ = !scatters_ && size_ * width <= kSmallBytes;
    share_ = scatters_ ? size_ / p : (size_ + p - 1) / p;
    piece_ = is_small_ ? size_ : std::min(share_, kPieceBytes / width);
  }

  size_t scratch_bytes() const override { return bytes(piece_) * group_.ranks.size(); }

  void run(const Call& call) override {
    if (size_ == 0) return;
    if (is_small_)
      return run_piece(
          call, [](int64_t) { return int64_t{0}; }, size_, call.out[0], 0);
    char* to = call.output<char>(0);
    for (int64_t first = 0; first < share_; first += piece_)
      run_piece(
          call, [&](int64_t k) { return k * share_ + first; }, piece_,
          scatters_ ? to + bytes(first) : to + bytes(group_.place * share_ + first), first);
    if (!scatters_) gather(to);
  }

 private:
  size_t bytes(int64_t elements) const { return static_cast<size_t>(elements) * dtype_bytes(type_); }

  // Of the piece that begins at `first` of member k's share: how much of it there is.
  int64_t length(int64_t k, int64_t first, int64_t n) const {
    if (is_small_) return size_;
    const int64_t end = std::min((k + 1) * share_, size_), begin = k * share_ + first;
    return std::max<int64_t>(0, std::min(n, end - begin));
  }

  template <class Begin>
  void run_piece(const Call& call, const Begin& begin, int64_t n, void* to, int64_t first) {
    const char* x = call.input<char>(0);
    char* came = static_cast<char*>(call.scratch);
    const int64_t mine = length(group_.place, first, n);
    const auto slot = [&](int64_t k) { return came + static_cast<size_t>(k) * bytes(piece_); };
    exchange_with_all(group_, [&](int64_t k) {
      return Parcel{0, x + bytes(begin(k)), bytes(length(k, first, n)), slot(k), bytes(mine)};
    });
    if (mine == 0) return;
    Parts parts{type_, {}, to};
    for (int64_t k = 0; k < group_.size(); ++k) parts.from.push_back(k == group_.place ? x + bytes(begin(k)) : slot(k));
    combine_parts(reduction_, parts, mine);
  }

  void gather(char* to) {
    const auto share = [&](int64_t k) { return bytes(length(k, 0, share_)); };
    exchange_with_all(group_, [&](int64_t k) {
      return Parcel{0, to + bytes(group_.place * share_), share(group_.place), to + bytes(k * share_), share(k)};
    });
  }

  Group group_;
  Reduction reduction_;
  DType type_;
  int64_t size_, share_, piece_;
  bool scatters_, is_small_;
};

std::unique_ptr<Kernel> prepare_all_gather(const Node& node, std::string* why) {
  Group group;
  if (!read_group(node, &group, why)) return nullptr;
  return std::make_unique<AllGather>(std::move(group), node.inputs[0].bytes());
}

std::unique_ptr<Kernel> prepare_all_to_all(const Node& node, std::string* why) {
  Group group;
  if (!read_group(node, &group, why)) return nullptr;
  const size_t parts = group.ranks.size();
  return std::make_unique<AllToAll>(std::move(group), node.inputs[0].bytes() / parts);
}

std::unique_ptr<Kernel> prepare_reduce(const Node& node, bool scatters, std::string* why) {
  Group group;
  Reduction reduction;
  if (!read_group(node, &group, why) || !read_reduction(node, &reduction, why)) return nullptr;
  const Aval& x = node.inputs[0];
  return std::make_unique<Reduce>(std::move(group), reduction, x.dtype, x.size(), scatters);
}

std::unique_ptr<Kernel> prepare_all_reduce(const Node& node, std::string* why) {
  return prepare_reduce(node, false, why);
}
std::unique_ptr<Kernel> prepare_reduce_scatter(const Node& node, std::string* why) {
  return prepare_reduce(node, true, why);
}

}  // namespace
TE_KERNEL(all_gather, prepare_all_gather);
TE_KERNEL(all_to_all, prepare_all_to_all);
TE_KERNEL(all_reduce, prepare_all_reduce);
TE_KERNEL(reduce_scatter, prepare_reduce_scatter);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
