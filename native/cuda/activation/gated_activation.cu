// gated_activation(u [..., A, F]) -> y [..., F], the product of A activations, in float32 and rounded once.
#include "cuda/activation/gated.cuh"
#include "cuda/launch.h"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

template <int Slots>
__global__ __launch_bounds__(kGatedThreads) void gated_values(const __grid_constant__ Gated g, const void* u, void* y) {
  gated_forward<Slots>(
      g, u, [&](int64_t at, const float(&values)[kOctet]) { store_octet(g.u, y, at, values); },
      [&](int64_t at, float value) { store_real(g.u, y, at, value); });
}

class GatedActivation : public Kernel {
 public:
  explicit GatedActivation(const Gated& g) : g_(g), blocks_(gated_blocks(g)) {}
  void run(const Call& call) override {
    if (g_.rows * g_.width == 0) return;
    const auto kernel = g_.slots == 1 ? gated_values<1> : g_.slots == 2 ? gated_values<2> : gated_values<0>;
    launch("gated_activation", kernel, {dim3(blocks_), dim3(kGatedThreads)}, g_, call.in[0], call.out[0]);
  }

 private:
  Gated g_;
  unsigned blocks_;
};

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  Gated g;
  if (!node.params.only({"activations", "limit", "alpha", "offset"}, why) || !read_gated(node, 0, &g, why))
    return nullptr;
  if (node.outputs[0].dtype != g.u) return *why = "y must have the dtype of u", nullptr;
  return std::make_unique<GatedActivation>(g);
}
TE_CUDA_KERNEL(gated_activation, prepare);

}  // namespace
}  // namespace te::cuda
