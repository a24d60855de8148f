// gated_activation(u [..., A, F]) -> y [..., F], the product of A activations, and its backward
//   du_a = dy act_a'(u_a) product over b != a of act_b(u_b).
#include "cpu/gated.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class GatedActivation : public Kernel {
 public:
  GatedActivation(const GatedShape& shape, DType y) : shape_(shape), y_(y) {}

  void run(const Call& call) override {
    const RowWriter writer(y_, call.out[0], shape_.rows * shape_.width);
    for_parts(shape_.pieces(), shape_.parts(), [&](int64_t, int64_t begin, int64_t end) {
      const auto nothing = [](float*, int64_t) {};
      if (y_ == DType::bfloat16) {
        gated_forward<true>(shape_, call.in[0], writer, begin, end, nothing);
      } else {
        gated_forward<false>(shape_, call.in[0], writer, begin, end, nothing);
      }
    });
  }

 private:
  GatedShape shape_;
  DType y_;
};

// One activation: du = dy act'(u), without the memory that products need.
template <Activation A>
inline void plain_backward_row(const float* dy, const float* x, int64_t n, const ActivationLimits& p, float* dx) {
  for_lanes(
      n, [=](int64_t i) { put_lanes(dx + i, lanes_at<Lanes>(dy + i) * activate<A>(lanes_at<Lanes>(x + i), p).slope); });
}

inline void multiply_row(const float* x, int64_t n, float* to) {
  for_lanes(n, [=](int64_t i) { put_lanes(to + i, lanes_at<Lanes>(to + i) * lanes_at<Lanes>(x + i)); });
}

class GatedActivationBackward : public Kernel {
 public:
  GatedActivationBackward(const GatedShape& shape, DType dy, DType du) : shape_(shape), dy_(dy), du_(du) {}

  void run(const Call& call) override {
    const RowWriter writer(du_, call.out[0], shape_.rows * shape_.slots * shape_.width);
    for_parts(shape_.pieces(), shape_.parts(), [&](int64_t, int64_t begin, int64_t end) {
      if (shape_.slots == 1) {
        run_plain(call, writer, begin, end);
      } else {
        run_product(call, writer, begin, end);
      }
      writer.finish();
    });
  }

 private:
  void prefetch(const Call& call, const GatedPiece& piece) const {
    prefetch_piece(shape_, call.in[1], piece);
    prefetch_row(dy_, call.in[0], piece.in_y + kGatedPiece, kGatedPiece);
  }

  void run_plain(const Call& call, const RowWriter& writer, int64_t begin, int64_t end) const {
    alignas(64) float dy_row[kGatedPiece], u_row[kGatedPiece], du_row[kGatedPiece];
    for_pieces(shape_, begin, end, [&](const GatedPiece& piece) {
      prefetch(call, piece);
      const float* dy = whole_vectors_in(dy_, call.in[0], piece.in_y, piece.n, dy_row);
      const float* u = whole_vectors_in(shape_.u, call.in[1], piece.in_u, piece.n, u_row);
      float* du = piece.n % kLanes == 0 ? writer.at(piece.in_u, du_row) : du_row;
      with_activation(shape_.activations[0],
                      [&](auto act) { plain_backward_row<act()>(dy, u, piece.n, shape_.limits, du); });
      writer.done(du, piece.n, piece.in_u);
    });
  }

  void run_product(const Call& call, const RowWriter& writer, int64_t begin, int64_t end) const {
    alignas(64) float row[kGatedPiece], values[kGatedSlots][kGatedPiece], slopes[kGatedSlots][kGatedPiece];
    for_pieces(shape_, begin, end, [&](const GatedPiece& piece) {
      prefetch(call, piece);
      for (int64_t a = 0; a < shape_.slots; ++a) {
        const float* u = whole_vectors_in(shape_.u, call.in[1], piece.in_u + a * shape_.width, piece.n, row);
        with_activation(shape_.activations[static_cast<size_t>(a)],
                        [&](auto act) { slope_row<act()>(u, piece.n, shape_.limits, values[a], slopes[a]); });
      }
      const float* dy = whole_vectors_in(dy_, call.in[0], piece.in_y, piece.n, row);
      for (int64_t a = 0; a < shape_.slots; ++a) {
        multiply_row(dy, piece.n, slopes[a]);
        for (int64_t b = 0; b < shape_.slots; ++b)
          if (b != a) multiply_row(values[b], piece.n, slopes[a]);
        writer.done(slopes[a], piece.n, piece.in_u + a * shape_.width);
      }
    });
  }

  GatedShape shape_;
  DType dy_, du_;
};

std::unique_ptr<Kernel> prepare_gated_activation(const Node& node, std::string* why) {
  GatedShape shape;
  if (!node.params.only({"activations", "limit", "alpha", "offset"}, why) || !shape.read(node, 0, why)) return nullptr;
  const DType y = node.outputs[0].dtype;
  if (!is_float(y)) return decline(why, "y must be a float type");
  return std::make_unique<GatedActivation>(shape, y);
}

std::unique_ptr<Kernel> prepare_gated_activation_backward(const Node& node, std::string* why) {
  GatedShape shape;
  if (!node.params.only({"activations", "limit", "alpha", "offset"}, why) || !shape.read(node, 1, why)) return nullptr;
  const DType dy = node.inputs[0].dtype, du = node.outputs[0].dtype;
  if (!is_float(dy) || !is_float(du)) return decline(why, "gradients must be of float types");
  return std::make_unique<GatedActivationBackward>(shape, dy, du);
}

TE_KERNEL(gated_activation, prepare_gated_activation);
TE_KERNEL(gated_activation_backward, prepare_gated_activation_backward);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
