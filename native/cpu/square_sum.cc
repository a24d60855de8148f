// joined_square_sum(x) -> Σ x², over everything and in float32: the bits of reduce_sum over x as float32 times itself.
#include "cpu/reduce_fold.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Cut into units and these into parts as reduce_sum cuts a row.
class SquareSum : public Kernel {
 public:
  explicit SquareSum(const Aval& x) : type_(x.dtype), n_(x.size()), unit_(std::max<int64_t>(1, std::min(n_, kUnit))) {
    units_ = (n_ + unit_ - 1) / unit_;
    parts_ = std::max<int64_t>(1, parts_for_shape(units_, unit_));
  }

  size_t scratch_bytes() const override { return static_cast<size_t>(parts_) * sizeof(double); }

  void run(const Call& call) override {
    double* sums = static_cast<double*>(call.scratch);
    std::fill(sums, sums + parts_, 0.0);
    for_parts(units_, parts_, [&](int64_t part, int64_t begin, int64_t end) {
      double sum = 0;
      for (int64_t unit = begin; unit < end; ++unit) sum += unit_sum(call.in[0], unit * unit_);
      sums[part] = sum;
    });
    double sum = sums[0];
    for (int64_t part = 1; part < parts_; ++part) sum += sums[part];
    *call.output<float>(0) = static_cast<float>(sum);
  }

 private:
  static constexpr int64_t kUnit = 2048;

  // Of squares that are rounded to float32 before they are added.
  double unit_sum(const void* base, int64_t first) const {
    alignas(64) float squares[kUnit];
    const int64_t n = std::min(unit_, n_ - first);
    const float* x = row_in(type_, base, first, n, squares);
    for (int64_t i = 0; i < n; ++i) squares[i] = x[i] * x[i];
    return fold_row<Fold::sum>(squares, n);
  }

  DType type_;
  int64_t n_, unit_, units_, parts_;
};

std::unique_ptr<Kernel> prepare_square_sum(const Node& node, std::string* why) {
  if (node.inputs.size() != 1 || !is_float(node.inputs[0].dtype)) return decline(why, "several tensors, or no floats");
  return std::make_unique<SquareSum>(node.inputs[0]);
}

TE_KERNEL(joined_square_sum, prepare_square_sum);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
