// adamw_update(g, m, v, p, lr, count) -> update, m2, v2, in float32 and rounded once:
//   m2 = b1 m + (1 - b1) g,  v2 = b2 v + (1 - b2) g^2
//   update = -lr (m2 / (1 - b1^t) / (sqrt(v2 / (1 - b2^t) + epsRoot) + eps) + weightDecay p),  t = count
#include <cmath>

#include "cpu/rows.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

struct AdamwNumbers {
  float b1, b2, g1, g2, eps, eps_root, decay;  // g1 = 1 - b1, g2 = 1 - b2
  float rate, correction;                      // lr / (1 - b1^t), 1 / (1 - b2^t)
};

inline double one_minus_power(double b, double t) { return b == 0 ? 1.0 : -std::expm1(t * std::log(b)); }

inline void adamw_row(const float* g, const float* m, const float* v, const float* p, int64_t n, AdamwNumbers a,
                      float lr, float* update, float* m2, float* v2) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float mean = a.b1 * m[i] + a.g1 * g[i];
    const float square = a.b2 * v[i] + a.g2 * (g[i] * g[i]);
    const float root = std::sqrt(square * a.correction + a.eps_root) + a.eps;
    update[i] = -(a.rate * (mean / root) + lr * (a.decay * p[i]));
    m2[i] = mean;
    v2[i] = square;
  }
}

class AdamwUpdate : public Kernel {
 public:
  AdamwUpdate(const Node& node)
      : n_(node.inputs[0].size()),
        b1_(node.params.number("b1", 0.9)),
        b2_(node.params.number("b2", 0.999)),
        eps_(static_cast<float>(node.params.number("eps", 1e-8))),
        eps_root_(static_cast<float>(node.params.number("epsRoot"))),
        decay_(static_cast<float>(node.params.number("weightDecay"))) {
    for (int i = 0; i < 4; ++i) in_[i] = node.inputs[static_cast<size_t>(i)].dtype;
    for (int i = 0; i < 3; ++i) out_[i] = node.outputs[static_cast<size_t>(i)].dtype;
  }

  void run(const Call& call) override {
    const float lr = *call.input<float>(4);
    const double t = *call.input<int32_t>(5);
    AdamwNumbers a{static_cast<float>(b1_),
                   static_cast<float>(b2_),
                   static_cast<float>(1 - b1_),
                   static_cast<float>(1 - b2_),
                   eps_,
                   eps_root_,
                   decay_,
                   static_cast<float>(static_cast<double>(lr) / one_minus_power(b1_, t)),
                   static_cast<float>(1 / one_minus_power(b2_, t))};
    const int64_t pieces = (n_ + kPiece - 1) / kPiece;
    for_parts(pieces, parts_for_team(pieces, kPiece), [&](int64_t, int64_t begin, int64_t end) {
      run_pieces(call, a, lr, begin * kPiece, std::min(n_, end * kPiece));
    });
  }

 private:
  static constexpr int64_t kPiece = 1024;

  // A piece is read before its results are written, so outputs may be the memory of inputs.
  void run_pieces(const Call& call, const AdamwNumbers& a, float lr, int64_t begin, int64_t end) const {
    alignas(64) float rows[7][kPiece];
    for (int64_t first = begin; first < end; first += kPiece) {
      const int64_t n = std::min(kPiece, end - first);
      const float* in[4];
      float* out[3];
      for (int i = 0; i < 4; ++i) in[i] = row_in(in_[i], call.in[i], first, n, rows[i]);
      for (int i = 0; i < 3; ++i)
        out[i] = out_[i] == DType::float32 ? static_cast<float*>(call.out[i]) + first : rows[4 + i];
      adamw_row(in[0], in[1], in[2], in[3], n, a, lr, out[0], out[1], out[2]);
      for (int i = 0; i < 3; ++i)
        if (out_[i] != DType::float32) store_row(out_[i], out[i], n, at(out_[i], call.out[i], first));
    }
  }

  int64_t n_;
  double b1_, b2_;
  float eps_, eps_root_, decay_;
  DType in_[4], out_[3];
};

std::unique_ptr<Kernel> prepare_adamw_update(const Node& node, std::string* why) {
  if (!node.params.only({"b1", "b2", "eps", "epsRoot", "weightDecay"}, why)) return nullptr;
  for (int i = 0; i < 4; ++i)
    if (!is_float(node.inputs[static_cast<size_t>(i)].dtype))
      return decline(why, "g, m, v and p must be of float types");
  for (const Aval& y : node.outputs)
    if (!is_float(y.dtype)) return decline(why, "results must be of float types");
  if (node.inputs[4].dtype != DType::float32 || node.inputs[5].dtype != DType::int32)
    return decline(why, "lr must be float32 and count int32");
  return std::make_unique<AdamwUpdate>(node);
}

TE_KERNEL(adamw_update, prepare_adamw_update);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
