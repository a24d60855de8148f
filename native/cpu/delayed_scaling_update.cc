// delayed_scaling_update(amax, scale, history){dtype, margin, amaxComputeAlgo} → newScale, newHistory.
// newScale = min((largest value of dtype / a) / 2^margin, largest float32), a the newest amax or the largest of all,
// and the old scale where a is not a positive number. The history is rolled; what is not finite enters it as 0.
// te: once
#include <algorithm>
#include <cmath>
#include <limits>

#include "te/kernel.h"

namespace te {
namespace {

class DelayedScalingUpdate : public Kernel {
 public:
  DelayedScalingUpdate(float largest, float factor, bool most_recent, int64_t length)
      : largest_(largest), factor_(factor), most_recent_(most_recent), length_(length) {}

  void run(const Call& call) override {
    const float amax = *call.input<float>(0), old = *call.input<float>(1);
    const float* history = call.input<float>(2);
    float seen = amax;
    for (int64_t i = 1; i < length_ && !most_recent_; ++i) {
      if (std::isnan(history[i]) || history[i] > seen) seen = history[i];
      if (std::isnan(seen)) break;
    }
    const bool usable = seen > 0 && std::isfinite(seen);
    const float scale = std::min(largest_ / seen * factor_, std::numeric_limits<float>::max());
    // The outputs may be the memory of the inputs: read first, then move towards the front.
    float* rolled = call.output<float>(1);
    for (int64_t i = 1; i + 1 < length_; ++i) rolled[i] = std::isfinite(history[i + 1]) ? history[i + 1] : 0.0f;
    if (length_ > 1) rolled[length_ - 1] = std::isfinite(amax) ? amax : 0.0f;
    rolled[0] = 0;
    *call.output<float>(0) = usable ? scale : old;
  }

 private:
  float largest_, factor_;
  bool most_recent_;
  int64_t length_;
};

std::unique_ptr<Kernel> prepare_delayed_scaling_update(const Node& node, std::string* why) {
  if (!node.params.only({"dtype", "margin", "amaxComputeAlgo"}, why)) return nullptr;
  const std::string dtype = node.params.text("dtype"), algo = node.params.text("amaxComputeAlgo");
  if (dtype != "float8_e4m3fn" && dtype != "float8_e5m2") return *why = "dtype " + dtype, nullptr;
  if (algo != "max" && algo != "most_recent") return *why = "amaxComputeAlgo " + algo, nullptr;
  const float factor = static_cast<float>(std::exp2(-node.params.number("margin")));
  return std::make_unique<DelayedScalingUpdate>(dtype == "float8_e5m2" ? 57344.0f : 448.0f, factor,
                                                algo == "most_recent", node.inputs[2].size());
}

}  // namespace
TE_KERNEL(delayed_scaling_update, prepare_delayed_scaling_update);
}  // namespace te
