// logsumexp: log(sum(exp(x))) over the last axis, which disappears.
#include "cpu/softmax_row.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class LogSumExp : public Kernel {
 public:
  explicit LogSumExp(const Node& node) : shape_(node.inputs[0]), rows_(node.outputs[0].size()) {}

  void run(const Call& call) override {
    with_float_type(shape_.dtype, [&](auto type) { run_rows<type()>(call); });
  }

 private:
  template <DType T>
  void run_rows(const Call& call) const {
    const int64_t n = shape_.width;
    for_parts(rows_, parts_for_team(rows_, n), [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const RowSum s = row_sum<T>(static_cast<const Stored<T>*>(call.in[0]) + row * n, n);
        const float y = s.base() + static_cast<float>(std::log(s.sum));
        store_row(T, &y, 1, at(T, call.out[0], row));
      }
    });
  }

  RowShape shape_;
  int64_t rows_;  // those of no elements give -inf
};

std::unique_ptr<Kernel> prepare_logsumexp(const Node& node, std::string* why) {
  if (!node.params.only({}, why)) return nullptr;
  if (!is_float(node.inputs[0].dtype)) return decline(why, "x is not floating");
  return std::make_unique<LogSumExp>(node);
}

}  // namespace
TE_KERNEL(logsumexp, prepare_logsumexp);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
