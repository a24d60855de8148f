// check_range(x){low, high} → y = x, int32; an element outside [low, high] is an error, worded by fn, what and wayOut.
// te: once
#include <cstring>
#include <string>

#include "plan/refusals.h"
#include "te/kernel.h"
#include "te/status.h"

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class CheckRange : public Kernel {
 public:
  explicit CheckRange(const Node& node)
      : n_(node.inputs[0].size()),
        scalar_(node.inputs[0].shape.empty()),
        low_(node.params.integer("low")),
        high_(node.params.integer("high")),
        fn_(node.params.text("fn")),
        what_(node.params.text("what")),
        way_out_(node.params.text("wayOut")) {}

  void run(const Call& call) override {
    const int32_t* x = call.input<int32_t>(0);
    int32_t least = INT32_MAX, most = INT32_MIN;
#pragma omp simd reduction(min : least) reduction(max : most)
    for (int64_t i = 0; i < n_; ++i) {
      least = x[i] < least ? x[i] : least;
      most = x[i] > most ? x[i] : most;
    }
    if (n_ > 0 && (least < low_ || most > high_)) refuse(x);
    if (call.out[0] != call.in[0]) std::memcpy(call.out[0], x, static_cast<size_t>(n_) * sizeof(int32_t));
  }

 private:
  [[noreturn]] void refuse(const int32_t* x) const {
    int64_t at = 0;
    while (x[at] >= low_ && x[at] <= high_) ++at;
    const std::string rule = what_ + " must be in [" + std::to_string(low_) + ", " + std::to_string(high_) + "]";
    throw Error("index", refused_value(fn_, rule, x[at], scalar_ ? -1 : at, way_out_));
  }

  int64_t n_;
  bool scalar_;
  int64_t low_, high_;
  std::string fn_, what_, way_out_;
};

std::unique_ptr<Kernel> prepare_check_range(const Node& node, std::string* why) {
  if (!node.params.only({"low", "high", "fn", "what", "wayOut"}, why)) return nullptr;
  if (node.inputs[0].dtype != DType::int32) {
    *why = "x is not int32";
    return nullptr;
  }
  return std::make_unique<CheckRange>(node);
}

}  // namespace
TE_KERNEL(check_range, prepare_check_range);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
