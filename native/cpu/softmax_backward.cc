// softmax_backward: dx = y * (dy - mean of dy under y) over the last axis. Dividing the mean by the sum of y, which is
// 1 but for the rounding of y, keeps that rounding from being amplified where dy - mean cancels.
#include "cpu/softmax_row.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class SoftmaxBackward : public Kernel {
 public:
  explicit SoftmaxBackward(const Node& node) : shape_(node.inputs[0]), dy_dtype_(node.inputs[1].dtype) {}

  size_t scratch_bytes() const override { return shape_.buffer_bytes(3); }

  void run(const Call& call) override {
    if (dy_dtype_ == shape_.dtype) {
      with_float_type(dy_dtype_, [&](auto type) { run_rows<type()>(call); });
    } else {
      run_rows<DType::float32>(call);
    }
  }

 private:
  // In numbers of type T: those of y, dy and dx, or float32, to and from which rows are converted.
  template <DType T>
  void run_rows(const Call& call) const {
    using Number = Stored<T>;
    const RowWriter writer(shape_.dtype, call.out[0], shape_.rows * shape_.width);
    for_parts(shape_.rows, shape_.parts(), [&](int64_t, int64_t begin, int64_t end) {
      const auto buffer = [&](int64_t i) { return reinterpret_cast<Number*>(shape_.buffer(call, 3, i)); };
      const int64_t n = shape_.width;
      for (int64_t first = begin * n; first < end * n; first += n) {
        const Number* y = row_in(shape_.dtype, call.in[0], first, n, buffer(0));
        const Number* dy = row_in(dy_dtype_, call.in[1], first, n, buffer(1));
        Number* dx = writer.at(first, buffer(2));
        weighted_deviations<T>(y, dy, n, row_mean<T>(y, dy, n), dx, writer.ahead<Number>());
        writer.done(dx, n, first);
      }
      writer.finish();
    });
  }

  RowShape shape_;
  DType dy_dtype_;
};

std::unique_ptr<Kernel> prepare_softmax_backward(const Node& node, std::string* why) {
  if (!node.params.only({}, why)) return nullptr;
  if (!is_float(node.inputs[0].dtype) || !is_float(node.inputs[1].dtype))
    return decline(why, "y or dy is not floating");
  return std::make_unique<SoftmaxBackward>(node);
}

}  // namespace
TE_KERNEL(softmax_backward, prepare_softmax_backward);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
