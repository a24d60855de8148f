// adamw_update(g, m, v, p, lr, count) -> update, m2, v2, for one parameter or for many in few launches:
//   m2 = b1 m + (1 - b1) g,  v2 = b2 v + (1 - b2) g^2
//   update = -lr (m2 / (1 - b1^t) / (sqrt(v2 / (1 - b2^t) + epsRoot) + eps) + weightDecay p),  t = count
// in float32 and rounded once. joined_adamw_update takes lr and count, then g, m, v and p of one parameter after the
// other, and a list of weight decays; with `apply` its results are p + update instead of update, which is rounded
// before it is added.
#include <cmath>

#include "cuda/launch.h"
#include "cuda/octet.cuh"
#include "cuda/registration.h"
#include "cuda/table.cuh"

namespace te::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kChunk = 1 << 14;  // elements of a block

struct Parameter {
  const void* in[4];  // g, m, v, p; outputs may be the memory of inputs
  void* out[3];       // update, m2, v2
  int64_t size;
  int64_t first;  // block of the launch
  float decay;
  DType in_type[4], out_type[3];
};

struct Adamw {
  double log_b1, log_b2;
  float b1, b2, g1, g2, eps, eps_root;  // g1 = 1 - b1, g2 = 1 - b2
  float max_norm;
  bool apply, clip;
};
struct Scalars {
  const float* lr;
  const int32_t* count;
  const float* norm;  // these of gradients that are clipped
  const bool* small;
};
using Parameters = Table<Parameter, sizeof(Adamw) + sizeof(Scalars)>;

// lr / (1 - b1^t), 1 / (1 - b2^t), lr, and what gradients are divided by where they are clipped.
struct Rates {
  float rate, correction, lr, norm;
  bool clips;
};

__device__ double one_minus_power(double log_b, double t) { return log_b == -INFINITY ? 1.0 : -expm1(t * log_b); }

__device__ Rates rates_of(const Adamw& a, const Scalars& s) {
  const double t = *s.count;
  const float lr = *s.lr;
  return {static_cast<float>(lr / one_minus_power(a.log_b1, t)), static_cast<float>(1 / one_minus_power(a.log_b2, t)),
          lr, a.clip ? *s.norm : 0.0f, a.clip && !*s.small};
}

// The three results for one element: out[0] is the update, rounded to p's dtype only where it is added to p.
__device__ void step(const Adamw& a, const Rates& r, const Parameter& p, const float (&in)[4], float (&out)[3]) {
  const float g = r.clips ? in[0] / r.norm * a.max_norm : in[0];
  out[1] = fmaf(a.b1, in[1], a.g1 * g);
  out[2] = fmaf(a.b2, in[2], a.g2 * (g * g));
  const float root = sqrtf(fmaf(out[2], r.correction, a.eps_root)) + a.eps;
  out[0] = -fmaf(r.rate, out[1] / root, r.lr * (p.decay * in[3]));
  if (a.apply) out[0] = in[3] + round_real(p.out_type[0], out[0]);
}

__global__ __launch_bounds__(kThreads) void adamw(const __grid_constant__ Parameters table,
                                                  const __grid_constant__ Adamw a, Scalars scalars) {
  __shared__ Rates shared;
  if (threadIdx.x == 0) shared = rates_of(a, scalars);
  const Parameter& p = entry_of_block(table);
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) - p.first) * kChunk;
  const int64_t end = begin + kChunk < p.size ? begin + kChunk : p.size;
  __syncthreads();
  const Rates rates = shared;
  int64_t i = begin + static_cast<int64_t>(threadIdx.x) * kOctet;
  for (; i + kOctet <= end; i += kThreads * kOctet) {
    Octet held[4];
    float in[4][kOctet], out[3][kOctet];
#pragma unroll
    for (int k = 0; k < 4; ++k) held[k] = load_octet(p.in_type[k], p.in[k], i);
#pragma unroll
    for (int k = 0; k < 4; ++k) decode_octet(p.in_type[k], held[k], in[k]);
#pragma unroll
    for (int e = 0; e < kOctet; ++e) {
      const float from[4] = {in[0][e], in[1][e], in[2][e], in[3][e]};
      float to[3];
      step(a, rates, p, from, to);
#pragma unroll
      for (int k = 0; k < 3; ++k) out[k][e] = to[k];
    }
#pragma unroll
    for (int k = 0; k < 3; ++k) store_octet(p.out_type[k], p.out[k], i, out[k]);
  }
  // The thread whose octet is not whole has the last elements.
  for (; i < end; ++i) {
    float in[4], out[3];
#pragma unroll
    for (int k = 0; k < 4; ++k) in[k] = load_real(p.in_type[k], p.in[k], i);
    step(a, rates, p, in, out);
#pragma unroll
    for (int k = 0; k < 3; ++k) store_real(p.out_type[k], p.out[k], i, out[k]);
  }
}

class AdamwUpdate : public Kernel {
 public:
  AdamwUpdate(const Adamw& a, std::vector<Parameter> parameters, bool joined)
      : a_(a), parameters_(std::move(parameters)), joined_(joined) {}

  void run(const Call& call) override {
    const int before = joined_ ? a_.clip ? 4 : 2 : 0, lr = joined_ ? 0 : 4;
    const Scalars scalars{call.input<float>(lr), call.input<int32_t>(lr + 1), a_.clip ? call.input<float>(2) : nullptr,
                          a_.clip ? call.input<bool>(3) : nullptr};
    std::vector<Parameter> some;  // those with elements
    for (size_t k = 0; k < parameters_.size(); ++k) {
      if (parameters_[k].size == 0) continue;
      some.push_back(parameters_[k]);
      for (size_t i = 0; i < 4; ++i) some.back().in[i] = call.in[before + static_cast<int>(4 * k + i)];
      for (size_t i = 0; i < 3; ++i) some.back().out[i] = call.out[3 * k + i];
    }
    for_tables<Parameters>(some, [&](Parameters& table) {
      int64_t blocks = 0;
      for (int k = 0; k < table.count; ++k) {
        table.entry[k].first = blocks;
        blocks += (table.entry[k].size + kChunk - 1) / kChunk;
      }
      launch("adamw_update", adamw, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads)}, table, a_, scalars);
    });
  }

 private:
  Adamw a_;
  std::vector<Parameter> parameters_;
  bool joined_;
};

Adamw read_numbers(const Params& params) {
  const double b1 = params.number("b1", 0.9), b2 = params.number("b2", 0.999);
  Adamw a{};
  a.log_b1 = std::log(b1), a.log_b2 = std::log(b2);
  a.b1 = static_cast<float>(b1), a.g1 = static_cast<float>(1 - b1);
  a.b2 = static_cast<float>(b2), a.g2 = static_cast<float>(1 - b2);
  a.eps = static_cast<float>(params.number("eps", 1e-8)), a.eps_root = static_cast<float>(params.number("epsRoot"));
  a.apply = params.flag("apply");
  a.clip = params.flag("clip");
  a.max_norm = static_cast<float>(params.number("maxNorm"));
  return a;
}

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  const bool joined = node.op != "adamw_update";
  const auto known =
      joined ? node.params.only({"b1", "b2", "eps", "epsRoot", "weightDecay", "apply", "clip", "maxNorm"}, why)
             : node.params.only({"b1", "b2", "eps", "epsRoot", "weightDecay"}, why);
  if (!known) return nullptr;
  const Adamw a = read_numbers(node.params);
  const size_t lr = joined ? 0 : 4, before = joined ? a.clip ? 4 : 2 : 0, count = node.outputs.size() / 3;
  if (node.inputs[lr].dtype != DType::float32 || node.inputs[lr + 1].dtype != DType::int32)
    return *why = "lr must be float32 and count int32", nullptr;
  const std::vector<double> decays =
      joined ? node.params.numbers("weightDecay") : std::vector<double>{node.params.number("weightDecay")};
  if (decays.size() != count) return *why = "a weight decay for each parameter", nullptr;
  std::vector<Parameter> parameters(count);
  for (size_t k = 0; k < count; ++k) {
    Parameter& p = parameters[k];
    p.decay = static_cast<float>(decays[k]);
    p.size = node.inputs[before + 4 * k].size();
    for (size_t i = 0; i < 4; ++i) p.in_type[i] = node.inputs[before + 4 * k + i].dtype;
    for (size_t i = 0; i < 3; ++i) p.out_type[i] = node.outputs[3 * k + i].dtype;
    for (const DType t :
         {p.in_type[0], p.in_type[1], p.in_type[2], p.in_type[3], p.out_type[0], p.out_type[1], p.out_type[2]})
      if (t > DType::float16) return *why = std::string("no update of ") + dtype_name(t), nullptr;
  }
  return std::make_unique<AdamwUpdate>(a, std::move(parameters), joined);
}
TE_CUDA_KERNEL(adamw_update, prepare);
TE_CUDA_KERNEL(joined_adamw_update, prepare);

}  // namespace
}  // namespace te::cuda
