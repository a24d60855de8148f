// cross_entropy: loss = log(sum) - (logits[label] - max) per row, with max the largest logit and sum that of
// exp(logits - max); its gradient is (exp(logits - max) / sum - onehot(label)) * dloss.
#include "cpu/softmax_row.h"
#include "te/status.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

int64_t checked_label(const int32_t* labels, int64_t row, int64_t classes) {
  const int32_t label = labels[row];
  if (label < 0 || label >= classes) {
    std::string text = "crossEntropy: every label must be in [0, ";
    text += std::to_string(classes - 1) + "], got " + std::to_string(label) + " at position " + std::to_string(row);
    throw Error("index", text + ". Replace it and give its row no weight.");
  }
  return label;
}

class CrossEntropy : public Kernel {
 public:
  explicit CrossEntropy(const Node& node) : shape_(node.inputs[0]), rows_(node.outputs[0].size()) {}

  void run(const Call& call) override {
    with_float_type(shape_.dtype, [&](auto type) { run_rows<type()>(call); });
  }

 private:
  template <DType T>
  void run_rows(const Call& call) const {
    const int64_t n = shape_.width;
    for_parts(rows_, parts_for_team(rows_, n), [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const int64_t label = checked_label(call.input<int32_t>(1), row, n);
        const Stored<T>* x = static_cast<const Stored<T>*>(call.in[0]) + row * n;
        const RowSum s = row_sum<T>(x, n);
        const float sum = static_cast<float>(s.sum);
        call.output<float>(0)[row] = static_cast<float>(std::log(s.sum)) - (number_at<T>(x + label) - s.base());
        call.output<float>(1)[row] = std::isnan(sum) ? sum : s.largest;  // comparisons pass over NaN
        call.output<float>(2)[row] = sum;
      }
    });
  }

  RowShape shape_;
  int64_t rows_;
};

class CrossEntropyBackward : public Kernel {
 public:
  explicit CrossEntropyBackward(const Node& node) : shape_(node.inputs[0]) {}

  size_t scratch_bytes() const override { return shape_.buffer_bytes(1); }

  void run(const Call& call) override {
    with_float_type(shape_.dtype, [&](auto type) { run_rows<type()>(call); });
  }

 private:
  template <DType T>
  void run_rows(const Call& call) const {
    using Number = Stored<T>;
    const RowWriter writer(T, call.out[0], shape_.rows * shape_.width);
    for_parts(shape_.rows, shape_.parts(), [&](int64_t, int64_t begin, int64_t end) {
      const int64_t n = shape_.width;
      for (int64_t row = begin; row < end; ++row) {
        const int64_t label = checked_label(call.input<int32_t>(1), row, n);
        const Number* x = static_cast<const Number*>(call.in[0]) + row * n;
        Number* dx = writer.at(row * n, reinterpret_cast<Number*>(shape_.buffer(call, 1, 0)));
        const float max = plain_nan(call.input<float>(2)[row]), sum = plain_nan(call.input<float>(3)[row]);
        const float dloss = plain_nan(call.input<float>(4)[row]), share = dloss / sum;
        // Before the row is written: dx may be x.
        const float at_label = weight_exp(number_at<T>(x + label) - max) * share - dloss;
        for_pairs(n, [=, ahead = writer.ahead<Number>()](int64_t i, auto count) {
          read_ahead_of_pair(x + i);
          write_ahead_of_pair(dx + i, ahead);
          const LanePair e = exponential_pair<T, T>(x + i, count, max);
          store_pair<T>(dx + i, map_pair(e, [=](Lanes v) { return share * v; }), count);
        });
        store_row(T, &at_label, 1, dx + label);
        writer.done(dx, n, row * n);
      }
      writer.finish();
    });
  }

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
