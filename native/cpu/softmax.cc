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
    with_float_type(shape_.dtype, [&](auto type) { run_rows<type()>(call); });
  }

 private:
  template <DType T>
  void run_rows(const Call& call) const {
    using Number = Stored<T>;
    const RowWriter writer(T, call.out[0], shape_.rows * shape_.width);
    for_parts(shape_.rows, shape_.parts(), [&](int64_t, int64_t begin, int64_t end) {
      float *buffer = shape_.buffer(call, 2, 0), *out = shape_.buffer(call, 2, 1);
      const int64_t n = shape_.width;
      const Number* x = static_cast<const Number*>(call.in[0]) + begin * n;
      float largest = row_largest<T>(x, n);
      for (int64_t row = begin; row < end; ++row, x += n) {
        Number* y = writer.at(row * n, reinterpret_cast<Number*>(out));
        constexpr bool kInPlace = T == DType::float32;
        float* exponentials = kInPlace ? reinterpret_cast<float*>(y) : buffer;
        const double total = row_exponentials<T>(x, n, largest, exponentials, kInPlace ? writer.ahead<Number>() : 0);
        if (row + 1 < end) largest = row_largest<T>(x + n, n);  // here it covers the time of the sum and the division
        scale_row<T>(exponentials, n, static_cast<float>(1.0 / total), y, kInPlace ? 0 : writer.ahead<Number>());
        writer.done(y, n, row * n);
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
