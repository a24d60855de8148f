// logsumexp: log(sum(exp(x))) over the last axis, which disappears.
#include "cpu/softmax_row.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class LogSumExp : public Kernel {
 public:
  explicit LogSumExp(const Node& node) : shape_(node.inputs[0]), rows_(node.outputs[0].size()) {}

  size_t scratch_bytes() const override { return shape_.buffer_bytes(1); }

  void run(const Call& call) override {
    const int64_t n = shape_.width;
    for_parts(rows_, std::min(shape_.threads, parts_for_team(rows_, n)), [&](int64_t part, int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const float* x = row_in(shape_.dtype, call.in[0], row * n, n, shape_.buffer(call, part, 1, 0));
        const float y = row_logsumexp(x, n);
        store_row(shape_.dtype, &y, 1, at(shape_.dtype, call.out[0], row));
      }
    });
  }

 private:
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
