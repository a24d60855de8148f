// softmax over the last axis, in float32. A row of -inf alone gives NaN, as its mathematics does.
#include "cpu/softmax_row.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Softmax : public Kernel {
 public:
  explicit Softmax(const Node& node) : shape_(node.inputs[0]) {}

  size_t scratch_bytes() const override { return shape_.buffer_bytes(2); }

  void run(const Call& call) override {
    if (shape_.dtype == DType::float32) {
      run_rows<false>(call);
    } else {
      run_rows<true>(call);
    }
  }

 private:
  template <bool kBrief>
  void run_rows(const Call& call) const {
    const RowWriter writer(shape_.dtype, call.out[0], shape_.rows * shape_.width);
    for_parts(shape_.rows, shape_.parts(), [&](int64_t part, int64_t begin, int64_t end) {
      float *in = shape_.buffer(call, part, 2, 0), *out = shape_.buffer(call, part, 2, 1);
      const int64_t n = shape_.width;
      for (int64_t first = begin * n; first < end * n; first += n) {
        const float* x = row_in(shape_.dtype, call.in[0], first, n, in);
        float* y = writer.at(first, out);
        const float largest = row_largest(x, n);
        prefetch_row(shape_.dtype, call.in[0], first + n, n);
        const double total = row_exponentials<kBrief>(x, n, largest, y);
        const float factor = static_cast<float>(1.0 / total);
#pragma omp simd
        for (int64_t i = 0; i < n; ++i) y[i] *= factor;
        writer.done(y, n, first);
      }
      writer.finish();
    });
  }

  RowShape shape_;
};

std::unique_ptr<Kernel> prepare_softmax(const Node& node, std::string* why) {
  if (!node.params.only({}, why)) return nullptr;
  if (!is_float(node.inputs[0].dtype)) return decline(why, "x is not floating");
  return std::make_unique<Softmax>(node);
}

}  // namespace
TE_KERNEL(softmax, prepare_softmax);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
