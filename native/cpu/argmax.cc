// argmax, argmin (x){axis} -> int32 index of the first extreme along the axis; the first NaN wins.
#include <cmath>

#include "cpu/index.h"
#include "cpu/reduce_fold.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// True when v takes the place of the best so far: better, or the first NaN.
template <Fold F, class T>
inline bool replaces(T v, T best) {
  return (F == Fold::max ? v > best : v < best) | ((v != v) & (best == best));
}

template <Fold F, class T>
class ArgExtreme : public Kernel {
 public:
  ArgExtreme(DType type, const AroundAxis& around) : type_(type), x_(around) {}

  void run(const Call& call) override {
    const int64_t tiles = (x_.inner + kTile - 1) / kTile, width = std::min(x_.inner, kTile);
    parallel_for(x_.outer * tiles, 16384 / std::max<int64_t>(1, x_.length * width) + 1,
                 [&](int64_t begin, int64_t end) {
                   for (int64_t task = begin; task < end; ++task) {
                     const int64_t outer = task / tiles, column = task % tiles * kTile;
                     if (x_.inner == 1) {
                       call.output<int32_t>(0)[outer] = search_row(call, outer * x_.length);
                     } else {
                       search_columns(call, outer, column, std::min(kTile, x_.inner - column));
                     }
                   }
                 });
  }

 private:
  static constexpr int64_t kTile = 1024;

  // Where the extreme, or the first NaN, stands first: looked for in steps that a vector compares at once.
  static int64_t first_place(const T* x, int64_t n, T extreme) {
    constexpr int kStep = 32;
    const auto is_it = [=](T v) { return (v == extreme) | (v != v); };
    int64_t k = 0;
    for (; k + kStep <= n; k += kStep) {
      int hits = 0;
#pragma omp simd reduction(+ : hits)
      for (int i = 0; i < kStep; ++i) hits += is_it(x[k + i]);
      if (hits != 0) break;
    }
    while (!is_it(x[k])) ++k;
    return k;
  }

  // The extreme of a piece first, then where it is: both passes are simpler than one that carries the index.
  int32_t search_row(const Call& call, int64_t first) const {
    T buffer[kTile];
    T best{};
    int64_t found = -1;
    for (int64_t i = 0; i < x_.length; i += kTile) {
      const int64_t n = std::min(kTile, x_.length - i);
      const T* x = fold_in(type_, call.in[0], first + i, n, buffer);
      const T extreme = static_cast<T>(fold_row<F>(x, n));
      if (found >= 0 && !replaces<F>(extreme, best)) continue;
      best = extreme;
      found = i + first_place(x, n, extreme);
      if (extreme != extreme) break;
    }
    return static_cast<int32_t>(found);
  }

  void search_columns(const Call& call, int64_t outer, int64_t column, int64_t n) const {
    T buffer[kTile], best[kTile];
    int32_t found[kTile] = {};
    const int64_t base = outer * x_.length * x_.inner + column;
    std::copy_n(fold_in(type_, call.in[0], base, n, buffer), n, best);
    for (int64_t row = 1; row < x_.length; ++row) {
      const T* x = fold_in(type_, call.in[0], base + row * x_.inner, n, buffer);
      const int32_t index = static_cast<int32_t>(row);
#pragma omp simd
      for (int64_t i = 0; i < n; ++i) {
        const bool better = replaces<F>(x[i], best[i]);
        best[i] = better ? x[i] : best[i];
        found[i] = better ? index : found[i];
      }
    }
    std::copy_n(found, n, call.output<int32_t>(0) + outer * x_.inner + column);
  }

  DType type_;
  AroundAxis x_;
};

template <Fold F>
std::unique_ptr<Kernel> prepare_arg(const Node& node, std::string* why) {
  if (!node.params.only({"axis"}, why)) return nullptr;
  AroundAxis around;
  if (!around_axis(node.inputs[0].shape, node.params.integer("axis"), &around, why)) return nullptr;
  if (around.length == 0) return decline(why, "an axis without elements");
  const DType type = node.inputs[0].dtype;
  if (is_integer(type)) return std::make_unique<ArgExtreme<F, int64_t>>(type, around);
  return std::make_unique<ArgExtreme<F, float>>(type, around);
}

TE_KERNEL(argmax, prepare_arg<Fold::max>);
TE_KERNEL(argmin, prepare_arg<Fold::min>);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
