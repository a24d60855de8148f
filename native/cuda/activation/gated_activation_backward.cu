// gated_activation_backward(dy [..., F], u [..., A, F]) -> du [..., A, F]:
//   du_a = dy act_a'(u_a) product over b != a of act_b(u_b)
// and gated_activation_backward_quantize(dy, u, scale) -> q, amax, made by passes: the float32 du goes to float8
// directly.
#include "cuda/activation/gated.cuh"
#include "cuda/launch.h"
#include "cuda/quantize/float8.cuh"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

// Slots of u, N elements of each from in_u on, by load(a): puts du by put(a, values). All slots are held where their
// number is known; else each is read once for every other, from the caches.
template <int Slots, int N, class Load, class PutSlot>
__device__ void slot_gradients(const Gated& g, const float (&dy)[N], const Load& load, const PutSlot& put) {
  if constexpr (Slots == 1) {
    float x[N], slope[N];
    load(0, x);
    apply_slopes(g.activation[0], x, g.limits, slope);
#pragma unroll
    for (int k = 0; k < N; ++k) slope[k] *= dy[k];
    put(0, slope);
  } else if constexpr (Slots == 2) {
    float x[2][N], part[N];
    load(0, x[0]);
    load(1, x[1]);
#pragma unroll
    for (int a = 0; a < 2; ++a) {
      apply_slopes(g.activation[a], x[a], g.limits, part);
      apply_values(g.activation[1 - a], x[1 - a], g.limits, true, part);
#pragma unroll
      for (int k = 0; k < N; ++k) part[k] *= dy[k];
      put(a, part);
    }
  } else {
    for (int a = 0; a < g.slots; ++a) {
      float x[N], part[N];
      load(a, x);
      apply_slopes(g.activation[a], x, g.limits, part);
      for (int b = 0; b < g.slots; ++b) {
        if (b == a) continue;
        load(b, x);
        apply_values(g.activation[b], x, g.limits, true, part);
      }
#pragma unroll
      for (int k = 0; k < N; ++k) part[k] *= dy[k];
      put(a, part);
    }
  }
}

// The walk of the backward pass: puts eight elements of du by put(at, values), one by put_one(at, value).
template <int Slots, class Put, class PutOne>
__device__ void gated_backward(const Gated& g, DType dy_type, const void* dy_at, const void* u, const Put& put,
                               const PutOne& put_one) {
  for_gated(
      g,
      [&](int64_t in_y, int64_t in_u) {
        float dy[kOctet];
        const Octet held_dy = load_octet(dy_type, dy_at, in_y);
        Octet held[Slots > 0 ? Slots : 1];
#pragma unroll
        for (int a = 0; a < Slots; ++a) held[a] = load_octet(g.u, u, in_u + a * g.width);
        decode_octet(dy_type, held_dy, dy);
        slot_gradients<Slots>(
            g, dy,
            [&](int a, float(&x)[kOctet]) {
              decode_octet(g.u, Slots > 0 ? held[Slots > 0 ? a : 0] : load_octet(g.u, u, in_u + a * g.width), x);
            },
            [&](int a, const float(&values)[kOctet]) { put(in_u + a * g.width, values); });
      },
      [&](int64_t in_y, int64_t in_u) {
        const float dy[1] = {load_real(dy_type, dy_at, in_y)};
        slot_gradients<Slots>(
            g, dy, [&](int a, float(&x)[1]) { x[0] = load_real(g.u, u, in_u + a * g.width); },
            [&](int a, const float(&values)[1]) { put_one(in_u + a * g.width, values[0]); });
      });
}

template <int Slots>
__global__ __launch_bounds__(kGatedThreads) void gated_gradients(const __grid_constant__ Gated g, DType dy_type,
                                                                 DType du_type, const void* dy, const void* u,
                                                                 void* du) {
  gated_backward<Slots>(
      g, dy_type, dy, u, [&](int64_t at, const float(&values)[kOctet]) { store_octet(du_type, du, at, values); },
      [&](int64_t at, float value) { store_real(du_type, du, at, value); });
}

template <int Slots, DType Q>
__global__ __launch_bounds__(kGatedThreads) void gated_gradient_codes(const __grid_constant__ Gated g, DType dy_type,
                                                                      const void* dy, const void* u,
                                                                      const float* scale_at, uint8_t* q,
                                                                      Gathering* blocks, float* amax) {
  const float scale = *scale_at;
  uint32_t most = 0;
  gated_backward<Slots>(
      g, dy_type, dy, u,
      [&](int64_t at, const float(&values)[kOctet]) { most = store_octet_codes<Q>(q + at, values, scale, most); },
      [&](int64_t at, float value) {
        most = larger_magnitude(most, value);
        q[at] = float8_code<Q>(value * scale);
      });
  gather_maximum(most, blocks, amax);
}

class GatedActivationBackward : public Kernel {
 public:
  GatedActivationBackward(const Gated& g, DType dy, DType du) : g_(g), dy_(dy), du_(du), blocks_(gated_blocks(g)) {}
  void run(const Call& call) override {
    if (g_.rows * g_.width == 0) return;
    const auto kernel = g_.slots == 1 ? gated_gradients<1> : g_.slots == 2 ? gated_gradients<2> : gated_gradients<0>;
    launch("gated_activation_backward", kernel, {dim3(blocks_), dim3(kGatedThreads)}, g_, dy_, du_, call.in[0],
           call.in[1], call.out[0]);
  }

 private:
  Gated g_;
  DType dy_, du_;
  unsigned blocks_;
};

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  Gated g;
  if (!node.params.only({"activations", "limit", "alpha", "offset", "wide"}, why) || !read_gated(node, 1, &g, why))
    return nullptr;
  const DType dy = node.inputs[0].dtype, du = node.outputs[0].dtype;
  if (dy > DType::float16 || du > DType::float16) return *why = "gradients must be of float types", nullptr;
  return std::make_unique<GatedActivationBackward>(g, dy, du);
}
TE_CUDA_KERNEL(gated_activation_backward, prepare);

template <DType Q>
class GatedActivationBackwardQuantize : public Kernel {
 public:
  GatedActivationBackwardQuantize(const Gated& g, DType dy) : g_(g), dy_(dy), blocks_(gated_blocks(g)) {}
  void run(const Call& call) override {
    const auto kernel = g_.slots == 1   ? gated_gradient_codes<1, Q>
                        : g_.slots == 2 ? gated_gradient_codes<2, Q>
                                        : gated_gradient_codes<0, Q>;
    launch("gated_activation_backward_quantize", kernel, {dim3(blocks_), dim3(kGatedThreads)}, g_, dy_, call.in[0],
           call.in[1], call.input<float>(2), call.output<uint8_t>(0), context().gathering, call.output<float>(1));
  }

 private:
  Gated g_;
  DType dy_;
  unsigned blocks_;
};

std::unique_ptr<Kernel> prepare_quantize(const Node& node, std::string* why) {
  Gated g;
  if (!node.params.only({"activations", "limit", "alpha", "offset", "dtype"}, why) || !read_gated(node, 1, &g, why))
    return nullptr;
  const DType dy = node.inputs[0].dtype, q = node.outputs[0].dtype;
  if (dy > DType::float16) return *why = "dy must be of a float type", nullptr;
  if (q == DType::float8_e4m3fn) return std::make_unique<GatedActivationBackwardQuantize<DType::float8_e4m3fn>>(g, dy);
  if (q == DType::float8_e5m2) return std::make_unique<GatedActivationBackwardQuantize<DType::float8_e5m2>>(g, dy);
  return *why = "q must be float8_e4m3fn or float8_e5m2", nullptr;
}
TE_CUDA_KERNEL(gated_activation_backward_quantize, prepare_quantize);

}  // namespace
}  // namespace te::cuda
