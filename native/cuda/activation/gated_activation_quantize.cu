// gated_activation_quantize(u [..., A, F], scale) -> q [..., F] in float8, amax: the float32 result of gated_activation
// goes to float8 directly.
#include "cuda/activation/gated.cuh"
#include "cuda/launch.h"
#include "cuda/quantize/float8.cuh"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

template <int Slots, DType Q>
__global__ __launch_bounds__(kGatedThreads) void gated_codes(const __grid_constant__ Gated g, const void* u,
                                                             const float* scale_at, uint8_t* q, Gathering* blocks,
                                                             float* amax) {
  const float scale = *scale_at;
  uint32_t most = 0;
  gated_forward<Slots>(
      g, u, [&](int64_t at, const float(&y)[kOctet]) { most = store_octet_codes<Q>(q + at, y, scale, most); },
      [&](int64_t at, float y) {
        most = larger_magnitude(most, y);
        q[at] = float8_code<Q>(y * scale);
      });
  gather_maximum(most, blocks, amax);
}

template <DType Q>
class GatedActivationQuantize : public Kernel {
 public:
  explicit GatedActivationQuantize(const Gated& g) : g_(g), blocks_(gated_blocks(g)) {}
  void run(const Call& call) override {
    const auto kernel = g_.slots == 1 ? gated_codes<1, Q> : g_.slots == 2 ? gated_codes<2, Q> : gated_codes<0, Q>;
    launch("gated_activation_quantize", kernel, {dim3(blocks_), dim3(kGatedThreads)}, g_, call.in[0],
           call.input<float>(1), call.output<uint8_t>(0), context().gathering, call.output<float>(1));
  }

 private:
  Gated g_;
  unsigned blocks_;
};

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  Gated g;
  if (!node.params.only({"activations", "limit", "alpha", "offset", "dtype"}, why) || !read_gated(node, 0, &g, why))
    return nullptr;
  const DType q = node.outputs[0].dtype;
  if (q == DType::float8_e4m3fn) return std::make_unique<GatedActivationQuantize<DType::float8_e4m3fn>>(g);
  if (q == DType::float8_e5m2) return std::make_unique<GatedActivationQuantize<DType::float8_e5m2>>(g);
  return *why = "q must be float8_e4m3fn or float8_e5m2", nullptr;
}
TE_CUDA_KERNEL(gated_activation_quantize, prepare);

}  // namespace
}  // namespace te::cuda
