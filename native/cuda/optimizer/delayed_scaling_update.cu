// delayed_scaling_update(amax, scale, history){dtype, margin, amaxComputeAlgo} → newScale, newHistory, for one tensor
// or for many in one launch: joined_delayed_scaling_update takes the operands of all, one tensor after the other, and
// lists of their parameters.
//   newScale = min((largest value of dtype / a) / 2^margin, largest float32)
// with a the newest amax or the largest of all, and the old scale where a is not a positive number. The history is
// rolled; what is not finite enters it as 0.
#include <cfloat>
#include <cmath>

#include "cuda/launch.h"
#include "cuda/registration.h"
#include "cuda/table.cuh"

namespace te::cuda {
namespace {

constexpr int kThreads = 128;

struct Scaling {
  const float *amax, *scale, *history;
  float *new_scale, *new_history;
  int length;
  float largest, factor;  // of the float8 type; 2^-margin
  bool most_recent;
};
using Scalings = Table<Scaling>;

// Bits in the order of the numbers; NaN is the largest.
__device__ int order_of(float x) { return x != x ? INT32_MAX : __float_as_int(x); }

__device__ float finite_or_zero(float x) { return fabsf(x) < INFINITY ? x : 0.0f; }

// The largest of all threads, on thread 0.
__device__ int block_maximum(int x) {
  __shared__ int of_warp[kThreads / 32];
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) x = max(x, __shfl_xor_sync(0xffffffffu, x, offset));
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = x;
  __syncthreads();
  for (int warp = 0; warp < kThreads / 32; ++warp) x = max(x, of_warp[warp]);
  return x;
}

// A block for each tensor. Outputs may be the memory of inputs: all is read before it is written.
__global__ __launch_bounds__(kThreads) void update_scales(const __grid_constant__ Scalings table) {
  const Scaling& s = table.entry[blockIdx.x];
  const float newest = *s.amax;
  int seen = order_of(newest);
  if (!s.most_recent)
    for (int i = 1 + static_cast<int>(threadIdx.x); i < s.length; i += kThreads)
      seen = max(seen, order_of(s.history[i]));
  seen = block_maximum(seen);
  if (threadIdx.x == 0) {
    const float a = __int_as_float(seen), scale = fminf(s.largest / a * s.factor, FLT_MAX);
    *s.new_scale = seen > 0 && seen < 0x7f800000 ? scale : *s.scale;
  }
  for (int first = 0; first < s.length; first += kThreads) {
    const int i = first + static_cast<int>(threadIdx.x);
    const bool inside = i < s.length;
    const float next = !inside || i == 0 ? 0.0f : i + 1 < s.length ? s.history[i + 1] : newest;
    __syncthreads();
    if (inside) s.new_history[i] = finite_or_zero(next);
  }
}

class DelayedScalingUpdate : public Kernel {
 public:
  explicit DelayedScalingUpdate(std::vector<Scaling> scalings) : scalings_(std::move(scalings)) {}

  void run(const Call& call) override {
    for (size_t k = 0; k < scalings_.size(); ++k) {
      const int in = static_cast<int>(3 * k), out = static_cast<int>(2 * k);
      Scaling& s = scalings_[k];
      s.amax = call.input<float>(in), s.scale = call.input<float>(in + 1), s.history = call.input<float>(in + 2);
      s.new_scale = call.output<float>(out), s.new_history = call.output<float>(out + 1);
    }
    for_tables<Scalings>(scalings_, [](Scalings& table) {
      launch("delayed_scaling_update", update_scales, {dim3(static_cast<unsigned>(table.count)), dim3(kThreads)},
             table);
    });
  }

 private:
  std::vector<Scaling> scalings_;
};

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  if (!node.params.only({"dtype", "margin", "amaxComputeAlgo"}, why)) return nullptr;
  const bool joined = node.op != "delayed_scaling_update";
  const size_t count = node.inputs.size() / 3;
  const auto texts = [&](const char* name) {
    return joined ? node.params.texts(name) : std::vector<std::string>{node.params.text(name)};
  };
  const std::vector<std::string> dtypes = texts("dtype"), algorithms = texts("amaxComputeAlgo");
  const std::vector<double> margins =
      joined ? node.params.numbers("margin") : std::vector<double>{node.params.number("margin")};
  if (dtypes.size() != count || algorithms.size() != count || margins.size() != count)
    return *why = "a parameter for each tensor", nullptr;
  std::vector<Scaling> scalings(count);
  for (size_t k = 0; k < count; ++k) {
    if (dtypes[k] != "float8_e4m3fn" && dtypes[k] != "float8_e5m2") return *why = "dtype " + dtypes[k], nullptr;
    if (algorithms[k] != "max" && algorithms[k] != "most_recent")
      return *why = "amaxComputeAlgo " + algorithms[k], nullptr;
    const int64_t length = node.inputs[3 * k + 2].size();
    if (length < 1 || length > INT32_MAX - kThreads) return *why = "the length of a history", nullptr;
    scalings[k].length = static_cast<int>(length);
    scalings[k].largest = dtypes[k] == "float8_e5m2" ? 57344.0f : 448.0f;
    scalings[k].factor = static_cast<float>(std::exp2(-margins[k]));
    scalings[k].most_recent = algorithms[k] == "most_recent";
  }
  return std::make_unique<DelayedScalingUpdate>(std::move(scalings));
}
TE_CUDA_KERNEL(delayed_scaling_update, prepare);
TE_CUDA_KERNEL(joined_delayed_scaling_update, prepare);

}  // namespace
}  // namespace te::cuda
