// check_range(x){low, high, fn, what, wayOut} → y = x, int32; an element outside [low, high] is reported.
#include "cuda/launch.h"
#include "cuda/registration.h"
#include "cuda/report.cuh"
#include "plan/refusals.h"

namespace te::cuda {
namespace {

constexpr int kThreads = 256;

__device__ inline void check_value(int32_t x, int64_t low, int64_t high, int64_t position, const Report& to) {
  if (x < low || x > high) report(to, position, x);
}

// x and y may be the same memory. Four elements at a time.
__global__ void __launch_bounds__(kThreads)
    check_values(const int32_t* x, int32_t* y, int64_t n, int64_t low, int64_t high, const Report to) {
  const int64_t i = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * 4;
  if (i + 4 <= n) {
    const int4 values = *reinterpret_cast<const int4*>(x + i);
    check_value(values.x, low, high, i, to);
    check_value(values.y, low, high, i + 1, to);
    check_value(values.z, low, high, i + 2, to);
    check_value(values.w, low, high, i + 3, to);
    if (x != y) *reinterpret_cast<int4*>(y + i) = values;
    return;
  }
  for (int64_t k = i; k < n; ++k) {
    check_value(x[k], low, high, k, to);
    if (x != y) y[k] = x[k];
  }
}

Site::Explain explain_range(const Node& node) {
  const std::string fn = node.params.text("fn"), way_out = node.params.text("wayOut");
  const std::string rule = node.params.text("what") + " must be in [" + std::to_string(node.params.integer("low")) +
                           ", " + std::to_string(node.params.integer("high")) + "]";
  const bool scalar = node.inputs[0].shape.empty();
  return [=](int64_t position, int32_t value) {
    return Failure{"index", refused_value(fn, rule, value, scalar ? -1 : position, way_out)};
  };
}

class CheckRange : public Kernel {
 public:
  explicit CheckRange(const Node& node)
      : n_(node.inputs[0].size()),
        low_(node.params.integer("low")),
        high_(node.params.integer("high")),
        site_(explain_range(node)) {}
  bool checks_values() const override { return true; }

  void run(const Call& call) override {
    if (n_ == 0) return;
    const int64_t per_block = kThreads * 4;
    launch("check_range", check_values, {dim3(static_cast<unsigned>((n_ + per_block - 1) / per_block)), dim3(kThreads)},
           call.input<int32_t>(0), call.output<int32_t>(0), n_, low_, high_, site_.report());
  }

 private:
  int64_t n_, low_, high_;
  Site site_;
};

std::unique_ptr<Kernel> prepare_check_range(const Node& node, std::string* why) {
  if (!node.params.only({"low", "high", "fn", "what", "wayOut"}, why)) return nullptr;
  if (node.inputs[0].dtype != DType::int32) {
    *why = "x is not int32";
    return nullptr;
  }
  return std::make_unique<CheckRange>(node);
}
TE_CUDA_KERNEL(check_range, prepare_check_range);

}  // namespace
}  // namespace te::cuda
