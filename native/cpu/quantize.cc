// quantize(x, scale){dtype} → q = float8(clip(float32(x) * scale)), amax = max |x|, in one pass over x.
#include "cpu/fused_quantize.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Numbers that are looked at together; the bits of their largest magnitude.
constexpr int64_t kPiece = 2048;
template <DType T, DType Q>
[[gnu::noinline]] uint32_t quantize_piece(const Stored<T>* x, int64_t n, float scale, uint8_t* q) {
  const uint32_t largest = quantize_each<T, Q>(scale, q, [=](const auto& step) {
    for_pairs(n, [&](int64_t i, auto count) {
      read_ahead_of_pair(x + i);
      step(i, count, load_pair<T>(x + i, count));
    });
  });
  if (!is_plain(largest, scale)) {
    float y[kPiece];
    load_row(T, x, n, y);
    quantize_carefully<DType::float32>(Q, y, n, scale, q);
  }
  return largest;
}

constexpr int64_t kAlone = 1 << 13;  // numbers that are not worth a second thread

class Quantize : public Kernel {
 public:
  Quantize(const Aval& x, DType q) : x_(x.dtype), q_(q), size_(x.size()), parts_(ranges_for_team()) {}
  size_t scratch_bytes() const override { return PartMaxima::bytes(parts_); }

  void run(const Call& call) override {
    const PartMaxima maxima(call.scratch, parts_);
    with_float_type(x_, [&](auto type) { with_float8(q_, [&](auto code) { run_in<type(), code()>(call, maxima); }); });
    *call.output<float>(1) = maxima.all();
  }

 private:
  template <DType T, DType Q>
  void run_in(const Call& call, const PartMaxima& maxima) const {
    const Stored<T>* x = call.input<Stored<T>>(0);
    uint8_t* q = call.output<uint8_t>(0);
    const float scale = *call.input<float>(1);
    for_parts(size_, size_ < kAlone ? 1 : parts_, [&](int64_t part, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += kPiece)
        maxima.add(part, quantize_piece<T, Q>(x + i, std::min(kPiece, end - i), scale, q + i));
    });
  }

  DType x_, q_;
  int64_t size_, parts_;
};

std::unique_ptr<Kernel> prepare_quantize(const Node& node, std::string* why) {
  if (!node.params.only({"dtype"}, why)) return nullptr;
  const DType x = node.inputs[0].dtype, q = node.outputs[0].dtype;
  if (!is_float8(q)) return decline(why, "q must be float8_e4m3fn or float8_e5m2");
  if (!is_float(x)) return decline(why, std::string("x of dtype ") + dtype_name(x));
  return std::make_unique<Quantize>(node.inputs[0], q);
}

}  // namespace
TE_KERNEL(quantize, prepare_quantize);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
