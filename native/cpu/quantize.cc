// quantize(x, scale){dtype} → q = float8(clip(float32(x) * scale)), amax = max |x|, in one pass over x.
#include "cpu/convert.h"
#include "cpu/fused_quantize.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

constexpr int64_t kBlock = 1024;

class Quantize : public Kernel {
 public:
  Quantize(const Aval& x, DType q) : x_(x.dtype), q_(q), size_(x.size()), parts_(std::max<int64_t>(num_threads(), 1)) {}
  size_t scratch_bytes() const override { return PartMaxima::bytes(parts_); }

  void run(const Call& call) override {
    const float scale = *call.input<float>(1);
    const PartMaxima maxima(call.scratch, parts_);
    const char* from = call.input<char>(0);
    char* to = call.output<char>(0);
    const int64_t width = static_cast<int64_t>(dtype_bytes(x_));
    for_parts(size_, size_ < kBlock * 8 ? 1 : parts_, [&](int64_t part, int64_t begin, int64_t end) {
      alignas(64) float row[kBlock];
      for (int64_t i = begin; i < end; i += kBlock) {
        const int64_t n = std::min(kBlock, end - i);
        load_row(x_, from + i * width, n, row);
        scale_and_measure(row, n, scale, maxima.of(part));
        store_row(q_, row, n, to + i, true);
      }
    });
    *call.output<float>(1) = maxima.all();
  }

 private:
  DType x_, q_;
  int64_t size_, parts_;
};

std::unique_ptr<Kernel> prepare_quantize(const Node& node, std::string* why) {
  if (!node.params.only({"dtype"}, why)) return nullptr;
  const DType x = node.inputs[0].dtype, q = node.outputs[0].dtype;
  if (!is_float8(q)) return decline(why, "q must be float8_e4m3fn or float8_e5m2");
  if (x != DType::float32 && x != DType::bfloat16 && x != DType::float16)
    return decline(why, std::string("x of dtype ") + dtype_name(x));
  return std::make_unique<Quantize>(node.inputs[0], q);
}

}  // namespace
TE_KERNEL(quantize, prepare_quantize);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
