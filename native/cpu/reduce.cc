// reduce_sum, reduce_prod, reduce_max, reduce_min (x){axes, keepDims} -> y of x's dtype, rounded once. The order of the
// operations depends on the shape alone.
#include "cpu/fill_value.h"
#include "cpu/reduce_fold.h"
#include "plan/reduce_plan.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// The reduced elements of one result (inner == 1), or of up to kTile neighbouring results, are cut into units; the
// units into parts. A part is folded by one thread into partial results in scratch, and the parts of a result in order.
template <Fold F, class T>
class Reduce : public Kernel {
  using W = Wide<T>;

 public:
  Reduce(const Aval& x, const ReducePlan& plan) : type_(x.dtype), plan_(plan) {
    if (plan_.empty || plan_.results() == 0) return;
    if (plan_.inner == 1) {
      unit_ = std::min(plan_.length, kUnit);
      units_of_run_ = (plan_.length + unit_ - 1) / unit_;
    } else if (plan_.inner <= kTile / 2) {
      unit_ = std::min(plan_.length, kTile / plan_.inner) * plan_.inner;  // several short rows side by side
      units_of_run_ = (plan_.length * plan_.inner + unit_ - 1) / unit_;
      tile_ = plan_.inner;
    } else {
      tile_ = unit_ = std::min(plan_.inner, kTile);
      units_of_run_ = plan_.length;
    }
    tiles_ = (plan_.inner + tile_ - 1) / tile_;
    const int64_t groups = plan_.kept.count * tiles_, units = plan_.reduced.count * units_of_run_;
    parts_ = groups >= 64 ? 1 : std::max<int64_t>(1, std::min(parts_for_shape(units, unit_), 128 / groups));
  }

  size_t scratch_bytes() const override {
    return parts_ == 1 ? 0 : static_cast<size_t>(plan_.kept.count * tiles_ * parts_ * tile_) * sizeof(W);
  }

  void run(const Call& call) override {
    if (plan_.results() == 0) return;
    if (plan_.empty) return fill(call);
    W* partial = static_cast<W*>(call.scratch);
    const int64_t groups = plan_.kept.count * tiles_, units = plan_.reduced.count * units_of_run_;
    const int64_t work = std::max<int64_t>(1, units * unit_ / parts_);
    parallel_for(groups * parts_, 16384 / work + 1, [&](int64_t first, int64_t last) {
      W results[kTile];
      for (int64_t task = first; task < last; ++task) {
        const int64_t group = task / parts_, part = task % parts_;
        fold_part(call, group, part_begin(units, parts_, part), part_begin(units, parts_, part + 1), results);
        if (parts_ == 1) {
          put(call, group, results);
        } else {
          std::copy(results, results + tile_, partial + task * tile_);
        }
      }
    });
    if (parts_ == 1) return;
    for (int64_t group = 0; group < groups; ++group) {
      W* first = partial + group * parts_ * tile_;
      for (int64_t part = 1; part < parts_; ++part) fold_columns<F>(first + part * tile_, tile_, first);
      put(call, group, first);
    }
  }

 private:
  static constexpr int64_t kUnit = 2048, kTile = 1024;

  int64_t tile_width(int64_t tile) const { return std::min(tile_, plan_.inner - tile * tile_); }

  void fold_part(const Call& call, int64_t group, int64_t begin, int64_t end, W* results) const {
    const int64_t tile = group % tiles_, base = plan_.kept.at(group / tiles_) + tile * tile_;
    if (plan_.inner == 1) {
      results[0] = fold_rows(call, base, begin, end);
    } else {
      fold_tile(call, base, tile_width(tile), begin, end, results);
    }
  }

  W fold_rows(const Call& call, int64_t base, int64_t begin, int64_t end) const {
    T buffer[kUnit];
    W result = fold_initial<F, W>(type_);
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t offset = unit % units_of_run_ * unit_, n = std::min(unit_, plan_.length - offset);
      const T* x = fold_in(type_, call.in[0], base + plan_.reduced.at(unit / units_of_run_) + offset, n, buffer);
      result = fold<F, W>(result, fold_row<F>(x, n));
    }
    return result;
  }

  // Floats of up to 32 units are folded in float32 before they go into the wide results (products at once: they would
  // overflow).
  void fold_tile(const Call& call, int64_t base, int64_t width, int64_t begin, int64_t end, W* results) const {
    constexpr bool kNarrowFirst = std::is_same_v<T, float> && F != Fold::prod;
    const bool side_by_side = plan_.inner <= kTile / 2;
    const int64_t columns = side_by_side ? unit_ : width, run = plan_.length * plan_.inner;
    T buffer[kTile], narrow[kTile];
    std::fill(results, results + columns, fold_initial<F, W>(type_));
    std::fill(narrow, narrow + columns, static_cast<T>(fold_initial<F, W>(type_)));
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t in_run = unit % units_of_run_, offset = in_run * (side_by_side ? unit_ : plan_.inner);
      const int64_t n = side_by_side ? std::min(unit_, run - offset) : width;
      const T* x = fold_in(type_, call.in[0], base + plan_.reduced.at(unit / units_of_run_) + offset, n, buffer);
      if (!kNarrowFirst) {
        fold_columns<F>(x, n, results);
        continue;
      }
      fold_columns<F>(x, n, narrow);
      if ((unit - begin) % 32 == 31 || unit + 1 == end) {
        fold_columns<F>(narrow, columns, results);
        std::fill(narrow, narrow + columns, static_cast<T>(fold_initial<F, W>(type_)));
      }
    }
    for (int64_t row = plan_.inner; side_by_side && row < unit_; row += plan_.inner)
      fold_columns<F>(results + row, plan_.inner, results);
  }

  void put(const Call& call, int64_t group, W* results) const {
    const int64_t tile = group % tiles_, width = tile_width(tile);
    for (int64_t i = 0; i < width; ++i) results[i] = settled<F>(results[i]);
    fold_out(type_, results, width, call.out[0], group / tiles_ * plan_.inner + tile * tile_);
  }

  void fill(const Call& call) const {
    FillValue(type_, static_cast<double>(fold_initial<F, W>(type_))).fill(call.out[0], plan_.results());
  }

  DType type_;
  ReducePlan plan_;
  int64_t unit_ = 1, units_of_run_ = 1, tile_ = 1, tiles_ = 1, parts_ = 1;
};

template <Fold F>
std::unique_ptr<Kernel> prepare_reduce(const Node& node, std::string* why) {
  if (!node.params.only({"axes", "keepDims"}, why)) return nullptr;
  const Aval& x = node.inputs[0];
  if (node.outputs[0].dtype != x.dtype) return decline(why, "a result of another dtype");
  const ReducePlan plan(x.shape, node.params.integers("axes"));
  if (is_integer(x.dtype)) return std::make_unique<Reduce<F, int64_t>>(x, plan);
  return std::make_unique<Reduce<F, float>>(x, plan);
}

TE_KERNEL(reduce_sum, prepare_reduce<Fold::sum>);
TE_KERNEL(reduce_prod, prepare_reduce<Fold::prod>);
TE_KERNEL(reduce_max, prepare_reduce<Fold::max>);
TE_KERNEL(reduce_min, prepare_reduce<Fold::min>);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
