// gated_activation_quantize_transposed(u, scale) → q, amax, qT and gated_activation_backward_quantize_transposed(dy, u,
// scale) → q, amax, qT: the codes of the forms without a transposed copy, written in both orders. qT [columns, rows]
// says how the result is seen, row-major. Made by passes; both sizes are multiples of 16, and so is a row of u.
#include "cuda/activation/gated.cuh"
#include "cuda/quantize/tiles.cuh"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

constexpr int kOctets = kPartColumns / kOctet;

// y, the product of the activations of u.
struct GatedValues {
  static constexpr int kRowsAtOnce = 1;
  struct Held {};
  Gated g;
  const void* u;

  __device__ void load(const Tiles&, int64_t, int64_t, Held&) const {}
  __device__ void row(const Tiles& t, const Held&, int, int64_t row, int64_t column,
                      float (&values)[kPartColumns]) const {
    if (row >= t.rows || column >= t.columns) {
#pragma unroll
      for (int k = 0; k < kPartColumns; ++k) values[k] = 0;
      return;
    }
    const int64_t at = row * t.columns + column;  // in y; 16 elements of one row of u
    const int64_t in_u = at + quotient(at, g.width, t.rows * t.columns) * (g.slots - 1) * g.width;
    for (int a = 0; a < g.slots; ++a) {
      float x[kPartColumns];
      load_part(g.u, u, in_u + a * g.width, x);
      apply_values(g.activation[a], x, g.limits, a > 0, values);
    }
  }

  __device__ static void load_part(DType t, const void* p, int64_t at, float (&x)[kPartColumns]) {
    Octet held[kOctets];
#pragma unroll
    for (int o = 0; o < kOctets; ++o) held[o] = load_octet(t, p, at + o * kOctet);
#pragma unroll
    for (int o = 0; o < kOctets; ++o) {
      float part[kOctet];
      decode_octet(t, held[o], part);
#pragma unroll
      for (int k = 0; k < kOctet; ++k) x[o * kOctet + k] = part[k];
    }
  }
};

// du, the gradient of u.
struct GatedGradients {
  static constexpr int kRowsAtOnce = 1;
  struct Held {};
  Gated g;
  DType dy_type;
  const void *dy, *u;

  __device__ void load(const Tiles&, int64_t, int64_t, Held&) const {}
  __device__ void row(const Tiles& t, const Held&, int, int64_t row, int64_t column,
                      float (&values)[kPartColumns]) const {
    if (row >= t.rows || column >= t.columns) {
#pragma unroll
      for (int k = 0; k < kPartColumns; ++k) values[k] = 0;
      return;
    }
    const int64_t at = row * t.columns + column;  // in du; 16 elements of one slot
    const int64_t slot = quotient(at, g.width, t.rows * t.columns), in_row = at - slot * g.width;
    const int64_t row_of_u = slot / g.slots;
    const int own = static_cast<int>(slot - row_of_u * g.slots);
    float x[kPartColumns];
    GatedValues::load_part(g.u, u, at, x);
    apply_slopes(g.activation[own], x, g.limits, values);
    for (int a = 0; a < g.slots; ++a) {
      if (a == own) continue;
      GatedValues::load_part(g.u, u, (row_of_u * g.slots + a) * g.width + in_row, x);
      apply_values(g.activation[a], x, g.limits, true, values);
    }
    GatedValues::load_part(dy_type, dy, row_of_u * g.width + in_row, x);
#pragma unroll
    for (int k = 0; k < kPartColumns; ++k) values[k] *= x[k];
  }
};

class GatedTransposed : public Kernel {
 public:
  GatedTransposed(const Gated& g, bool backward, DType dy, DType q, const Tiles& tiles)
      : g_(g), backward_(backward), dy_(dy), q_(q), tiles_(tiles) {}

  void run(const Call& call) override {
    if (q_ == DType::float8_e4m3fn)
      run_as<DType::float8_e4m3fn>(call);
    else
      run_as<DType::float8_e5m2>(call);
  }

 private:
  template <DType Q>
  void run_as(const Call& call) const {
    if (backward_)
      launch_tiles<Q, false>("gated_activation_backward_quantize_transposed",
                             GatedGradients{g_, dy_, call.in[0], call.in[1]}, tiles_, call.input<float>(2), call);
    else
      launch_tiles<Q, false>("gated_activation_quantize_transposed", GatedValues{g_, call.in[0]}, tiles_,
                             call.input<float>(1), call);
  }

  Gated g_;
  bool backward_;
  DType dy_, q_;
  Tiles tiles_;
};

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  const bool backward = node.op == "gated_activation_backward_quantize_transposed";
  Gated g;
  if (!node.params.only({"activations", "limit", "alpha", "offset", "dtype"}, why) ||
      !read_gated(node, backward ? 1 : 0, &g, why))
    return nullptr;
  const Aval &q = node.outputs[0], &turned = node.outputs[2];
  if (!is_float8(q.dtype) || turned.dtype != q.dtype) return *why = "q and qT must be of one float8 type", nullptr;
  if (backward && node.inputs[0].dtype > DType::float16) return *why = "dy must be of a float type", nullptr;
  if (turned.shape.size() != 2 || turned.size() != q.size()) return *why = "qT must be [columns, rows] of q", nullptr;
  if (turned.shape[0] % 16 || turned.shape[1] % 16 || g.width % 16) return *why = "multiples of 16 only", nullptr;
  return std::make_unique<GatedTransposed>(g, backward, node.inputs[0].dtype, q.dtype,
                                           tiles_of(turned.shape[1], turned.shape[0]));
}
TE_CUDA_KERNEL(gated_activation_quantize_transposed, prepare);
TE_CUDA_KERNEL(gated_activation_backward_quantize_transposed, prepare);

}  // namespace
}  // namespace te::cuda
