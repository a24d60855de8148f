// adamw_update(g, m, v, p, lr, count) -> update, m2, v2, in float32 and rounded once:
//   m2 = b1 m + (1 - b1) g,  v2 = b2 v + (1 - b2) g^2
//   update = -lr (m2 / (1 - b1^t) / (sqrt(v2 / (1 - b2^t) + epsRoot) + eps) + weightDecay p),  t = count
// joined_adamw_update(lr, count, [norm, small], g, m, v, p){apply, clip, maxNorm}: with `clip` of g / norm * maxNorm
// instead of g unless `small`, with `apply` p + update instead of update, which is rounded before it is added.
#include <cmath>

#include "cpu/rows.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

struct AdamwNumbers {
  float b1, b2, g1, g2, eps, eps_root, decay;  // g1 = 1 - b1, g2 = 1 - b2
  float rate, correction, lr;                  // lr / (1 - b1^t), 1 / (1 - b2^t)
};

inline double one_minus_power(double b, double t) { return b == 0 ? 1.0 : -std::expm1(t * std::log(b)); }

// `to`: the update, or with APPLY p + update.
template <bool APPLY>
inline void adamw_row(const float* g, const float* m, const float* v, const float* p, int64_t n, AdamwNumbers a,
                      float* to, float* m2, float* v2) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const float mean = a.b1 * m[i] + a.g1 * g[i];
    const float square = a.b2 * v[i] + a.g2 * (g[i] * g[i]);
    const float root = std::sqrt(square * a.correction + a.eps_root) + a.eps;
    const float update = -(a.rate * (mean / root) + a.lr * (a.decay * p[i]));
    to[i] = APPLY ? p[i] + update : update;
    m2[i] = mean;
    v2[i] = square;
  }
}

struct AdamwParams {
  explicit AdamwParams(const Params& params)
      : b1(params.number("b1", 0.9)), b2(params.number("b2", 0.999)), max_norm(params.number("maxNorm")) {
    eps = params.number("eps", 1e-8), eps_root = params.number("epsRoot");
    apply = params.flag("apply"), clip = params.flag("clip");
  }
  double b1, b2, max_norm, eps, eps_root, decay = 0;
  bool apply, clip;
};

class AdamwUpdate : public Kernel {
 public:
  // Operands begin with g at `first`, or with g at 0 and lr behind them.
  AdamwUpdate(const Node& node, AdamwParams params, size_t first)
      : params_(params), first_(first), lr_(first == 0 ? 4 : 0), n_(node.inputs[first].size()) {
    for (size_t i = 0; i < 4; ++i) in_[i] = node.inputs[first + i].dtype;
    for (size_t i = 0; i < 3; ++i) out_[i] = node.outputs[i].dtype;
  }

  void run(const Call& call) override {
    const AdamwNumbers a = numbers(*call.input<float>(lr_), *call.input<int32_t>(lr_ + 1));
    const bool clips = params_.clip && !*call.input<bool>(lr_ + 3);
    const float norm = clips ? *call.input<float>(lr_ + 2) : 1;
    const int64_t pieces = (n_ + kPiece - 1) / kPiece;
    for_parts(pieces, parts_for_team(pieces, kPiece), [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t piece = begin; piece < end; ++piece) run_piece(call, a, clips, norm, piece * kPiece);
    });
  }

 private:
  static constexpr int64_t kPiece = 1024;

  AdamwNumbers numbers(float lr, double t) const {
    const auto single = [](double x) { return static_cast<float>(x); };
    return {single(params_.b1),
            single(params_.b2),
            single(1 - params_.b1),
            single(1 - params_.b2),
            single(params_.eps),
            single(params_.eps_root),
            single(params_.decay),
            single(static_cast<double>(lr) / one_minus_power(params_.b1, t)),
            single(1 / one_minus_power(params_.b2, t)),
            lr};
  }

  // A piece is read before its results are written, so outputs may be the memory of inputs.
  void run_piece(const Call& call, const AdamwNumbers& a, bool clips, float norm, int64_t first) const {
    alignas(64) float rows[7][kPiece];
    const int64_t n = std::min(kPiece, n_ - first);
    const float* in[4];
    float* out[3];
    for (size_t i = 0; i < 4; ++i) in[i] = row_in(in_[i], call.in[first_ + i], first, n, rows[i]);
    for (size_t i = 0; i < 3; ++i)
      out[i] = out_[i] == DType::float32 ? static_cast<float*>(call.out[i]) + first : rows[4 + i];
    if (clips) in[0] = clipped(in[0], norm, n, rows[0]);
    const bool adds = params_.apply && out_[0] == DType::float32;
    adds ? adamw_row<true>(in[0], in[1], in[2], in[3], n, a, out[0], out[1], out[2])
         : adamw_row<false>(in[0], in[1], in[2], in[3], n, a, out[0], out[1], out[2]);
    if (params_.apply && !adds) add_rounded(in[3], n, out[0]);
    for (size_t i = 0; i < 3; ++i)
      if (out_[i] != DType::float32) store_row(out_[i], out[i], n, at(out_[i], call.out[i], first));
  }

  const float* clipped(const float* g, float norm, int64_t n, float* to) const {
    const float most = static_cast<float>(params_.max_norm);
    for (int64_t i = 0; i < n; ++i) to[i] = g[i] / norm * most;
    return to;
  }

  // update = p + (update rounded to the type of p)
  void add_rounded(const float* p, int64_t n, float* update) const {
    uint16_t narrow[kPiece];
    store_row(out_[0], update, n, narrow);
    load_row(out_[0], narrow, n, update);
    for (int64_t i = 0; i < n; ++i) update[i] += p[i];
  }

  AdamwParams params_;
  size_t first_;
  int lr_;
  int64_t n_;
  DType in_[4], out_[3];
};

std::unique_ptr<Kernel> prepare(const Node& node, size_t first, AdamwParams params, std::string* why) {
  for (size_t i = 0; i < 4; ++i)
    if (!is_float(node.inputs[first + i].dtype)) return decline(why, "g, m, v and p must be of float types");
  for (const Aval& y : node.outputs)
    if (!is_float(y.dtype)) return decline(why, "results must be of float types");
  const size_t lr = first == 0 ? 4 : 0;
  if (node.inputs[lr].dtype != DType::float32 || node.inputs[lr + 1].dtype != DType::int32)
    return decline(why, "lr must be float32 and count int32");
  return std::make_unique<AdamwUpdate>(node, params, first);
}

std::unique_ptr<Kernel> prepare_adamw_update(const Node& node, std::string* why) {
  if (!node.params.only({"b1", "b2", "eps", "epsRoot", "weightDecay"}, why)) return nullptr;
  AdamwParams params(node.params);
  params.decay = node.params.number("weightDecay");
  return prepare(node, 0, params, why);
}

// One parameter a node: what gradients lie in is free again before the last of them is there.
std::unique_ptr<Kernel> prepare_joined_adamw_update(const Node& node, std::string* why) {
  if (!node.params.only({"b1", "b2", "eps", "epsRoot", "weightDecay", "apply", "clip", "maxNorm"}, why)) return nullptr;
  AdamwParams params(node.params);
  const size_t first = params.clip ? 4 : 2;
  const auto decays = node.params.numbers("weightDecay");
  if (node.outputs.size() != 3 || node.inputs.size() != first + 4 || decays.size() != 1)
    return decline(why, "several parameters");
  if (params.apply && node.outputs[0].dtype != node.inputs[first + 3].dtype)
    return decline(why, "a parameter of another type");
  params.decay = decays[0];
  return prepare(node, first, params, why);
}

TE_KERNEL(adamw_update, prepare_adamw_update);
TE_KERNEL(joined_adamw_update, prepare_joined_adamw_update);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
