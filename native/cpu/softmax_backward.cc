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
    const RowWriter writer(shape_.dtype, call.out[0], shape_.rows * shape_.width);
    for_parts(shape_.rows, shape_.parts(), [&](int64_t part, int64_t begin, int64_t end) {
      float *y_buffer = shape_.buffer(call, part, 3, 0), *dy_buffer = shape_.buffer(call, part, 3, 1);
      const int64_t n = shape_.width;
      for (int64_t first = begin * n; first < end * n; first += n) {
        const float* y = row_in(shape_.dtype, call.in[0], first, n, y_buffer);
        const float* dy = row_in(dy_dtype_, call.in[1], first, n, dy_buffer);
        float* dx = writer.at(first, shape_.buffer(call, part, 3, 2));
        prefetch_row(shape_.dtype, call.in[0], first + n, n);
        prefetch_row(dy_dtype_, call.in[1], first + n, n);
        const float mean = row_mean(y, dy, n);
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) dx[i] = y[i] * (dy[i] - mean);
        writer.done(dx, n, first);
      }
      writer.finish();
    });
  }

 private:
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
