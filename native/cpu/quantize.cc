// quantize(x, scale){dtype} → q = float8(clip(float32(x) * scale)), amax = max |x|, in one pass over x.
#include "cpu/fused_quantize.h"
#include "cpu/simd/word_formats.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

using Row = uint32_t (*)(const void*, int64_t, float, uint8_t*);

template <DType Q>
Row row_for(DType x) {
  switch (x) {
    case DType::float32:
      return quantize_row<DType::float32, Q>;
    case DType::bfloat16:
      return quantize_row<DType::bfloat16, Q>;
    case DType::float16:
      return quantize_row<DType::float16, Q>;
    default:
      return nullptr;
  }
}

constexpr int64_t kAlone = 1 << 13;  // numbers that are not worth a second thread

class Quantize : public Kernel {
 public:
  Quantize(const Aval& x, Row row)
      : row_(row),
        width_(static_cast<int64_t>(dtype_bytes(x.dtype))),
        size_(x.size()),
        parts_(std::max(num_threads(), 1)) {}
  size_t scratch_bytes() const override { return PartMaxima::bytes(parts_); }

  void run(const Call& call) override {
    const float scale = *call.input<float>(1);
    const PartMaxima maxima(call.scratch, parts_);
    for_parts(size_, size_ < kAlone ? 1 : parts_, [&](int64_t part, int64_t begin, int64_t end) {
      const uint32_t largest =
          row_(call.input<char>(0) + begin * width_, end - begin, scale, call.output<uint8_t>(0) + begin);
      maxima.add(part, static_cast<int32_t>(largest));
    });
    *call.output<float>(1) = maxima.all();
  }

 private:
  Row row_;
  int64_t width_, size_, parts_;
};

std::unique_ptr<Kernel> prepare_quantize(const Node& node, std::string* why) {
  if (!node.params.only({"dtype"}, why)) return nullptr;
  const DType x = node.inputs[0].dtype, q = node.outputs[0].dtype;
  if (!is_float8(q)) return decline(why, "q must be float8_e4m3fn or float8_e5m2");
  const Row row = q == DType::float8_e4m3fn ? row_for<DType::float8_e4m3fn>(x) : row_for<DType::float8_e5m2>(x);
  if (!row) return decline(why, std::string("x of dtype ") + dtype_name(x));
  return std::make_unique<Quantize>(node.inputs[0], row);
}

}  // namespace
TE_KERNEL(quantize, prepare_quantize);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
