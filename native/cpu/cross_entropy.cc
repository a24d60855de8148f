// cross_entropy: loss = logsumexp(logits) - logits[label] per row; its gradient is (softmax - onehot(label)) * dloss.
#include "cpu/softmax_row.h"
#include "te/status.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

int64_t checked_label(const int32_t* labels, int64_t row, int64_t classes) {
  const int32_t label = labels[row];
  if (label < 0 || label >= classes) {
    std::string text = "crossEntropy: every label must be in [0, ";
    text += std::to_string(classes) + "), got " + std::to_string(label) + " at position " + std::to_string(row);
    throw Error("index", text + ". Replace it and give its row no weight.");
  }
  return label;
}

class CrossEntropy : public Kernel {
 public:
  explicit CrossEntropy(const Node& node) : shape_(node.inputs[0]), rows_(node.outputs[0].size()) {}

  size_t scratch_bytes() const override { return shape_.buffer_bytes(1); }

  void run(const Call& call) override {
    const int64_t n = shape_.width;
    const int64_t parts = std::min(shape_.threads, parts_for_team(rows_, n));
    for_parts(rows_, parts, [&](int64_t part, int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t label = checked_label(call.input<int32_t>(1), row, n);
        const float* x = row_in(shape_.dtype, call.in[0], row * n, n, shape_.buffer(call, part, 1, 0));
        const float lse = row_logsumexp(x, n);
        call.output<float>(0)[row] = lse - x[label];
        call.output<float>(1)[row] = lse;
      }
    });
  }

 private:
  RowShape shape_;
  int64_t rows_;
};

class CrossEntropyBackward : public Kernel {
 public:
  explicit CrossEntropyBackward(const Node& node) : shape_(node.inputs[0]) {}

  size_t scratch_bytes() const override { return shape_.buffer_bytes(2); }

  void run(const Call& call) override {
    const RowWriter writer(shape_.dtype, call.out[0], shape_.rows * shape_.width);
    for_parts(shape_.rows, shape_.parts(), [&](int64_t part, int64_t begin, int64_t end) {
      const int64_t n = shape_.width;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t label = checked_label(call.input<int32_t>(1), row, n);
        const float* x = row_in(shape_.dtype, call.in[0], row * n, n, shape_.buffer(call, part, 2, 0));
        float* dx = writer.at(row * n, shape_.buffer(call, part, 2, 1));
        const float lse = call.input<float>(2)[row], dloss = call.input<float>(3)[row];
        const float probability = weight_exp(x[label] - lse);
        for_exponentials<false>(x, n, lse,
                                [=](int64_t i, Lanes e, int64_t count) { put_some_lanes(dx + i, dloss * e, count); });
        dx[label] = dloss * (probability - 1.0f);
        writer.done(dx, n, row * n);
      }
      writer.finish();
    });
  }

 private:
  RowShape shape_;
};

bool known(const Node& node, std::string* why) {
  if (!node.params.only({}, why)) return false;
  if (!is_float(node.inputs[0].dtype)) *why = "logits are not floating";
  if (node.inputs[1].dtype != DType::int32) *why = "labels are not int32";
  return why->empty();
}

std::unique_ptr<Kernel> prepare_cross_entropy(const Node& node, std::string* why) {
  return known(node, why) ? std::make_unique<CrossEntropy>(node) : nullptr;
}

std::unique_ptr<Kernel> prepare_cross_entropy_backward(const Node& node, std::string* why) {
  return known(node, why) ? std::make_unique<CrossEntropyBackward>(node) : nullptr;
}

}  // namespace
TE_KERNEL(cross_entropy, prepare_cross_entropy);
TE_KERNEL(cross_entropy_backward, prepare_cross_entropy_backward);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
