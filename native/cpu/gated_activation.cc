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
      with_float_type(shape_.u == y_ ? y_ : DType::float32,
                      [&](auto type) { run_part<type()>(call, writer, begin, end); });
    });
  }

 private:
  template <DType T>
  void run_part(const Call& call, const RowWriter& writer, int64_t begin, int64_t end) const {
    alignas(64) Stored<T> buffer[kGatedPiece];
    gated_forward<T, T>(shape_, call.in[0], writer, begin, end,
                        [&](auto act, const auto* x, const float* before, const GatedPiece& piece) {
                          Stored<T>* y = writer.at(piece.in_y, buffer);
                          value_row<act(), T, T, true>(x, piece.n, before, shape_.limits, y, writer.ahead<Stored<T>>());
                          writer.done(y, piece.n, piece.in_y);
                        });
  }

  GatedShape shape_;
  DType y_;
};

// One activation: du = dy act'(u), without the memory that products need. ahead: see write_ahead, here and below.
template <Activation A, DType T>
inline void plain_backward_row(const Stored<T>* dy, const Stored<T>* u, int64_t n, const ActivationLimits& p,
                               Stored<T>* du, int64_t ahead) {
  for_pairs(n, [=](int64_t i, auto count) {
    read_ahead_of_pair(dy + i);
    read_ahead_of_pair(u + i);
    write_ahead_of_pair(du + i, ahead);
    const LanePair slope = map_pair(load_pair<T>(u + i, count), [=](Lanes v) { return activate<A, T>(v, p).slope; });
    store_pair<T>(du + i, load_pair<T>(dy + i, count) * slope, count);
  });
}

// The float32 rows here are in the order of pairs.
template <DType T>
inline void multiply_row(const float* x, int64_t n, float* to) {
  for_pairs(n, [=](int64_t i, auto count) {
    store_ordered<T>(to + i, load_ordered<T>(to + i, count) * load_ordered<T>(x + i, count), count);
  });
}

template <DType T>
inline void product_backward_row(const Stored<T>* dy, const float* slope, const float* other, int64_t n, Stored<T>* du,
                                 int64_t ahead) {
  for_pairs(n, [=](int64_t i, auto count) {
    read_ahead_of_pair(dy + i);
    write_ahead_of_pair(du + i, ahead);
    const LanePair factor = load_ordered<T>(slope + i, count) * load_ordered<T>(other + i, count);
    store_pair<T>(du + i, load_pair<T>(dy + i, count) * factor, count);
  });
}

class GatedActivationBackward : public Kernel {
 public:
  GatedActivationBackward(const GatedShape& shape, DType dy, DType du) : shape_(shape), dy_(dy), du_(du) {}

  void run(const Call& call) override {
    const RowWriter writer(du_, call.out[0], shape_.rows * shape_.slots * shape_.width);
    for_parts(shape_.pieces(), shape_.parts(), [&](int64_t, int64_t begin, int64_t end) {
      with_float_type(shape_.u == dy_ && dy_ == du_ ? du_ : DType::float32, [&](auto type) {
        if (shape_.slots == 1) {
          run_plain<type()>(call, writer, begin, end);
        } else {
          run_product<type()>(call, writer, begin, end);
        }
      });
      writer.finish();
    });
  }

 private:
  // Both in numbers of type T, as gated_forward.
  template <DType T>
  void run_plain(const Call& call, const RowWriter& writer, int64_t begin, int64_t end) const {
    alignas(64) Stored<T> dy_row[kGatedPiece], u_row[kGatedPiece], du_row[kGatedPiece];
    for_pieces(shape_, begin, end, [&](const GatedPiece& piece) {
      const Stored<T>* dy = row_in(dy_, call.in[0], piece.in_y, piece.n, dy_row);
      const Stored<T>* u = row_in(shape_.u, call.in[1], piece.in_u, piece.n, u_row);
      Stored<T>* du = writer.at(piece.in_u, du_row);
      with_activation(shape_.activation[0], [&](auto act) {
        plain_backward_row<act(), T>(dy, u, piece.n, shape_.limits, du, writer.ahead<Stored<T>>());
      });
      writer.done(du, piece.n, piece.in_u);
    });
  }

  template <DType T>
  void run_product(const Call& call, const RowWriter& writer, int64_t begin, int64_t end) const {
    alignas(64) Stored<T> row[kGatedPiece], du_row[kGatedPiece];
    alignas(64) float values[kGatedSlots][kGatedPiece], slopes[kGatedSlots][kGatedPiece];
    for_pieces(shape_, begin, end, [&](const GatedPiece& piece) {
      for (int64_t a = 0; a < shape_.slots; ++a) {
        const Stored<T>* u = row_in(shape_.u, call.in[1], piece.in_u + a * shape_.width, piece.n, row);
        with_activation(shape_.activation[a],
                        [&](auto act) { slope_row<act(), T>(u, piece.n, shape_.limits, values[a], slopes[a]); });
      }
      const Stored<T>* dy = row_in(dy_, call.in[0], piece.in_y, piece.n, row);
      for (int64_t a = 0; a < shape_.slots; ++a) {
        const int64_t other = a == 0 ? 1 : 0, in_u = piece.in_u + a * shape_.width;
        for (int64_t b = 1; b < shape_.slots; ++b)
          if (b != a && b != other) multiply_row<T>(values[b], piece.n, slopes[a]);
        Stored<T>* du = writer.at(in_u, du_row);
        product_backward_row<T>(dy, slopes[a], values[other], piece.n, du, writer.ahead<Stored<T>>());
        writer.done(du, piece.n, in_u);
      }
    });
  }

  GatedShape shape_;
  DType dy_, du_;
};

std::unique_ptr<Kernel> prepare_gated_activation(const Node& node, std::string* why) {
  GatedShape shape;
  if (!node.params.only({"activations", "limit", "alpha", "offset"}, why) || !read_gated(node, 0, &shape, why))
    return nullptr;
  const DType y = node.outputs[0].dtype;
  if (!is_float(y)) return decline(why, "y must be a float type");
  return std::make_unique<GatedActivation>(shape, y);
}

std::unique_ptr<Kernel> prepare_gated_activation_backward(const Node& node, std::string* why) {
  GatedShape shape;
  if (!node.params.only({"activations", "limit", "alpha", "offset", "wide"}, why) || !read_gated(node, 1, &shape, why))
    return nullptr;
  const DType dy = node.inputs[0].dtype, du = node.outputs[0].dtype;
  if (!is_float(dy) || !is_float(du)) return decline(why, "gradients must be of float types");
  return std::make_unique<GatedActivationBackward>(shape, dy, du);
}

TE_KERNEL(gated_activation, prepare_gated_activation);
TE_KERNEL(gated_activation_backward, prepare_gated_activation_backward);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
