// Attention on Hopper and its gradients against double precision, at sizes that reach its tiles, their borders and its
// turns, with rows that hold what is not finite, and to the same bits in every run.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "cuda/device.h"
#include "cuda/registration.h"
#include "emulator/fiber.h"
#include "te/kernel.h"
#include "te/status.h"

using namespace te;

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
int failed = 0;
void expect(bool ok, const std::string& what) {
  if (ok) return;
  std::printf("FAILED %s\n", what.c_str());
  ++failed;
}

struct Case {
  const char* name;
  int batch = 1, queries = 200, keys = 200, heads = 2, groups = 2, depth = 128;
  DType dtype = DType::bfloat16;
  const char *layout = "bshd", *packing = "none", *softmax = "vanilla";
  bool causal = false, bottom_right = false;
  int left = -1, right = -1;
  double scale = 0.2;
  enum { none, value_hidden, value_seen, key_hidden, key_seen, dout_row, large } trouble = none;
};

double rounded(DType dtype, double x) {
  return dtype == DType::bfloat16 ? static_cast<double>(static_cast<float>(__nv_bfloat16(static_cast<float>(x))))
                                  : static_cast<double>(static_cast<float>(__half(static_cast<float>(x))));
}

// Numbers [B, S, heads, d] and their place in the layout.
struct Rows {
  int length, heads;
  std::vector<double> x;
};

struct Reference {
  const Case& c;
  Rows q, k, v, dout, out, dq, dk, dv;
  std::vector<double> max, sum, dlse, sink;

  explicit Reference(const Case& c) : c(c) {
    std::mt19937 random(7);
    std::normal_distribution<double> normal;
    const auto fill = [&](Rows& rows, int length, int heads, bool zero) {
      rows = {length, heads, std::vector<double>(static_cast<size_t>(c.batch) * length * heads * c.depth)};
      if (!zero)
        for (double& x : rows.x) x = rounded(c.dtype, normal(random));
    };
    fill(q, c.queries, c.heads, false), fill(k, c.keys, c.groups, false), fill(v, c.keys, c.groups, false);
    fill(dout, c.queries, c.heads, false), fill(out, c.queries, c.heads, true), fill(dq, c.queries, c.heads, true);
    fill(dk, c.keys, c.groups, true), fill(dv, c.keys, c.groups, true);
    dlse.resize(static_cast<size_t>(c.batch) * c.heads * c.queries);
    for (double& x : dlse) x = static_cast<float>(normal(random));
    for (int n = 0; n < c.heads; ++n) sink.push_back(static_cast<float>(normal(random)));
    max = sum = dlse;
    trouble();
    compute();
  }

  size_t at(const Rows& r, int b, int i, int n) const {
    return ((static_cast<size_t>(b) * r.length + i) * r.heads + n) * c.depth;
  }
  bool sees(int i, int j) const {
    const int own = i + (c.bottom_right ? c.keys - c.queries : 0);
    return !(c.causal && j > own) && !(c.left >= 0 && j < own - c.left) && !(c.right >= 0 && j > own + c.right);
  }
  double dot(const Rows& x, int i, const Rows& y, int j, int b, int n) const {
    const int m = n / (c.heads / c.groups);
    const size_t p = at(x, b, i, n), r = at(y, b, j, &y == &k || &y == &v ? m : n);
    double sum = 0;
    for (int d = 0; d < c.depth; ++d) sum += x.x[p + d] * y.x[r + d];
    return sum;
  }

  void trouble() {
    const auto put = [&](Rows& r, int i, double x) { r.x[at(r, 0, i, 0) + 3] = x; };
    switch (c.trouble) {
      case Case::value_hidden:
      case Case::value_seen:
        return put(v, c.keys - 60, c.trouble == Case::value_seen ? kInfinity : NAN);
      case Case::key_hidden:
      case Case::key_seen:
        return put(k, c.keys - 60, NAN);
      case Case::dout_row:
        return put(dout, 40, kInfinity);
      case Case::large:
        for (double& x : k.x) x = rounded(c.dtype, x * 3000);
        return;
      default:
        return;
    }
  }

  // Σ weights x, where a weight that counts is above 0 even if no number holds it.
  static void add(double& sum, double weight, double x) {
    if (std::isfinite(x))
      sum += weight * x;
    else
      sum += x;
  }
  static double finite(double x) { return std::isfinite(x) ? x : 0; }

  void compute() {
    std::vector<double> s(static_cast<size_t>(c.keys)), p(s), dp(s);
    for (int b = 0; b < c.batch; ++b)
      for (int n = 0; n < c.heads; ++n)
        for (int i = 0; i < c.queries; ++i) {
          const int g = n / (c.heads / c.groups);
          const size_t row = (static_cast<size_t>(b) * c.heads + n) * c.queries + i;
          const double extra = !std::strcmp(c.softmax, "learnable") ? sink[n] : -kInfinity;
          double top = extra, total = 0;
          for (int j = 0; j < c.keys; ++j) {
            s[j] = sees(i, j) ? c.scale * dot(q, i, k, j, b, n) : -kInfinity;
            top = s[j] > top || std::isnan(s[j]) ? s[j] : top;
          }
          max[row] = top;
          const double base = top == -kInfinity ? 0 : top;
          for (int j = 0; j < c.keys; ++j)
            if (s[j] != -kInfinity) total += std::exp(s[j] - base);
          total += std::exp(extra - base);
          if (std::isnan(total)) max[row] = total;
          sum[row] = total;
          double mean = 0;
          const auto o = [&](int d) -> double& { return out.x[at(out, b, i, n) + d]; };
          for (int j = 0; j < c.keys; ++j) {
            p[j] = s[j] == -kInfinity ? 0 : std::exp(s[j] - base) / (total == 0 ? 1 : total);
            if (s[j] != -kInfinity)
              for (int d = 0; d < c.depth; ++d) add(o(d), p[j], v.x[at(v, b, j, g) + d]);
          }
          for (int d = 0; d < c.depth; ++d) mean += rounded(c.dtype, o(d)) * dout.x[at(dout, b, i, n) + d];
          mean -= dlse[row];
          for (int j = 0; j < c.keys; ++j) {
            if (s[j] == -kInfinity) continue;
            const double ds = p[j] * (dot(dout, i, v, j, b, n) - mean);
            for (int d = 0; d < c.depth; ++d) {
              dq.x[at(dq, b, i, n) + d] += c.scale * ds * finite(k.x[at(k, b, j, g) + d]);
              dk.x[at(dk, b, j, g) + d] += c.scale * ds * finite(q.x[at(q, b, i, n) + d]);
              add(dv.x[at(dv, b, j, g) + d], p[j], dout.x[at(dout, b, i, n) + d]);
            }
          }
        }
  }
};

// An operand on the device: rows of one or several `parts` in the case's layout.
class Operand {
 public:
  Operand(const Case& c, std::vector<const Rows*> parts, bool filled) : c_(c), parts_(std::move(parts)) {
    const Rows& r = *parts_[0];
    const bool last = !std::strcmp(c.layout, "sbhd");
    aval = {{last ? r.length : c.batch, last ? c.batch : r.length}, c.dtype};
    if (parts_.size() > 1) aval.shape.push_back(static_cast<int64_t>(parts_.size()));
    aval.shape.push_back(r.heads), aval.shape.push_back(c.depth);
    void* p = nullptr;
    cuda::check(cudaMalloc(&p, aval.bytes()), "cudaMalloc");
    data = p;
    if (!filled) return;
    std::vector<uint16_t> wire(static_cast<size_t>(aval.size()));
    each([&](size_t part, size_t at, size_t on_wire) {
      const float x = static_cast<float>(parts_[part]->x[at]);
      wire[on_wire] = c.dtype == DType::bfloat16 ? std::bit_cast<uint16_t>(__float2bfloat16_rn(x))
                                                 : std::bit_cast<uint16_t>(__float2half_rn(x));
    });
    cudaMemcpy(data, wire.data(), aval.bytes(), cudaMemcpyHostToDevice);
  }
  Operand(const Operand&) = delete;
  ~Operand() { cudaFree(data); }

  std::vector<uint16_t> bits() const {
    std::vector<uint16_t> wire(static_cast<size_t>(aval.size()));
    cudaMemcpy(wire.data(), data, aval.bytes(), cudaMemcpyDeviceToHost);
    return wire;
  }
  void compare(const std::string& what) const {
    const std::vector<uint16_t> wire = bits();
    double error = 0, size = 0;
    each([&](size_t part, size_t at, size_t on_wire) {
      const double got = static_cast<double>(c_.dtype == DType::bfloat16
                                                 ? static_cast<float>(std::bit_cast<__nv_bfloat16>(wire[on_wire]))
                                                 : static_cast<float>(std::bit_cast<__half>(wire[on_wire])));
      const double want = parts_[part]->x[at];
      if (got == want || (std::isnan(got) && std::isnan(want))) return;
      const double e = std::isfinite(got) && std::isfinite(want) ? got - want : kInfinity;
      error += e * e, size += want * want;
    });
    // What rounding probabilities and results once does. Scores of some thousands are float32 to 2^-11 only, which
    // their exponentials have as a relative error: it shows in float16.
    const double relative = error == 0 ? 0 : std::sqrt(error / size), limit = c_.dtype == DType::bfloat16 ? 6e-3
                                                                              : c_.trouble == Case::large ? 3e-3
                                                                                                          : 1e-3;
    char text[100];
    std::snprintf(text, sizeof text, ": relative error %.2g", relative);
    expect(relative <= limit, what + text);
  }

  Aval aval;
  void* data;

 private:
  template <class F>
  void each(F f) const {
    const bool last = !std::strcmp(c_.layout, "sbhd");
    for (size_t part = 0; part < parts_.size(); ++part) {
      const Rows& r = *parts_[part];
      const size_t width = static_cast<size_t>(r.heads) * c_.depth;
      for (int b = 0; b < c_.batch; ++b)
        for (int i = 0; i < r.length; ++i) {
          const size_t line = last ? static_cast<size_t>(i) * c_.batch + b : static_cast<size_t>(b) * r.length + i;
          for (size_t e = 0; e < width; ++e)
            f(part, (static_cast<size_t>(b) * r.length + i) * width + e, (line * parts_.size() + part) * width + e);
        }
    }
  }
  const Case& c_;
  std::vector<const Rows*> parts_;
};

class Floats {
 public:
  explicit Floats(Shape shape) : aval{std::move(shape), DType::float32} {
    cuda::check(cudaMalloc(&data, aval.bytes()), "cudaMalloc");
  }
  Floats(Shape shape, const std::vector<double>& x) : Floats(std::move(shape)) {
    std::vector<float> wire(x.begin(), x.end());
    cudaMemcpy(data, wire.data(), aval.bytes(), cudaMemcpyHostToDevice);
  }
  Floats(const Floats&) = delete;
  ~Floats() { cudaFree(data); }
  void compare(const std::string& what, const std::vector<double>& want, double relative) const {
    std::vector<float> got(want.size());
    cudaMemcpy(got.data(), data, aval.bytes(), cudaMemcpyDeviceToHost);
    double worst = 0;
    for (size_t i = 0; i < want.size(); ++i) {
      if (got[i] == want[i] || (std::isnan(got[i]) && std::isnan(want[i]))) continue;
      const double e = std::abs(got[i] - want[i]) / (1e-2 + std::abs(want[i]));
      worst = std::isnan(e) ? kInfinity : std::max(worst, e);
    }
    char text[100];
    std::snprintf(text, sizeof text, ": relative error %.2g", worst);
    expect(worst <= relative, what + text);
  }
  Aval aval;
  void* data = nullptr;
};

// Runs a node, causal ones twice for the bits of the first output.
void run(const Node& node, const std::vector<const void*>& in, const std::vector<void*>& out, const Operand& first,
         const char* path, const std::string& label) {
  std::string why;
  const auto kernel = prepare_kernel(node, &why);
  if (!kernel) return expect(false, label + " is declined: " + why);
  expect(kernel->path() == path, label + " goes by " + kernel->path());
  std::vector<uint16_t> bits;
  for (int repeat = 0; repeat < (node.params.flag("causal") ? 2 : 1); ++repeat) {
    void* scratch = nullptr;
    cuda::check(cudaMalloc(&scratch, kernel->scratch_bytes() + 64), "cudaMalloc");
    kernel->run({in.data(), out.data(), scratch});
    cuda::check(cudaDeviceSynchronize(), label.c_str());
    cudaFree(scratch);
    if (repeat) expect(bits == first.bits(), label + ": other bits in the second run");
    bits = first.bits();
  }
}

void check(const Case& c) {
  const Reference r(c);
  const std::string label = std::string(c.name) + " " + dtype_name(c.dtype);
  const bool qkv = !std::strcmp(c.packing, "qkv"), kv = !std::strcmp(c.packing, "kv");
  const auto parts = [&](const Rows* q, const Rows* k, const Rows* v) {
    std::vector<std::vector<const Rows*>> all;
    if (qkv) return all = {{q, k, v}};
    if (kv) return all = {{q}, {k, v}};
    return all = {{q}, {k}, {v}};
  };
  Node node;
  node.op = "attention";
  const auto param = [&](const char* name, Params::Value x) { node.params.set(name, std::move(x)); };
  param("layout", std::string(c.layout)), param("packing", std::string(c.packing));
  param("softmaxType", std::string(c.softmax)), param("scale", c.scale), param("causal", c.causal);
  param("bottomRight", c.bottom_right), param("windowLeft", double(c.left)), param("windowRight", double(c.right));

  std::vector<std::unique_ptr<Operand>> given, gradients;
  for (auto& p : parts(&r.q, &r.k, &r.v)) given.push_back(std::make_unique<Operand>(c, p, true));
  for (auto& p : parts(&r.dq, &r.dk, &r.dv)) gradients.push_back(std::make_unique<Operand>(c, p, false));
  const Shape rows = {c.batch, c.heads, c.queries};
  Operand out(c, {&r.out}, false), dout(c, {&r.dout}, true);
  Floats max(rows), sum(rows), dlse(rows, r.dlse), sink({c.heads}, r.sink);

  const auto operands = [&](Node& to, std::vector<const void*>& in, size_t first) {
    for (size_t i = first; i < 10; ++i) {  // k, v and eight more, of which the sink may be there
      const bool there = i < given.size(), sinks = i == 9 && !std::strcmp(c.softmax, "learnable");
      to.inputs.push_back(there ? given[i]->aval : sinks ? sink.aval : Aval{{}, DType::float32, false});
      in.push_back(there ? given[i]->data : sinks ? sink.data : nullptr);
    }
  };
  {
    Node forward = node;
    std::vector<const void*> in;
    operands(forward, in, 0);
    forward.inputs.push_back({{}, DType::uint32, false}), in.push_back(nullptr);
    forward.outputs = {out.aval, max.aval, sum.aval};
    run(forward, in, {out.data, max.data, sum.data}, out, "hopper", label);
    out.compare(label + " out");
    max.compare(label + " max", r.max, 2e-5);
    sum.compare(label + " sum", r.sum, c.trouble == Case::large ? 2e-2 : 1e-4);
  }
  Node backward = node;
  backward.op = "attention_backward";
  backward.inputs = {given[0]->aval, out.aval, max.aval, sum.aval, dout.aval};
  std::vector<const void*> in = {given[0]->data, out.data, max.data, sum.data, dout.data};
  operands(backward, in, 1);
  backward.inputs.back() = {{}, DType::uint32, false}, in.back() = nullptr;  // the key in the sink's place
  backward.inputs.push_back(dlse.aval), in.push_back(dlse.data);
  std::vector<void*> results;
  const Aval nothing{{0}, c.dtype};
  for (size_t i = 0; i < 3; ++i) {
    backward.outputs.push_back(i < gradients.size() ? gradients[i]->aval : nothing);
    results.push_back(i < gradients.size() ? gradients[i]->data : nullptr);
  }
  run(backward, in, results, *gradients[0], "hopper", label + " gradients");
  for (size_t i = 0; i < gradients.size(); ++i) gradients[i]->compare(label + " gradient " + std::to_string(i));
}

}  // namespace

int main(int, char** arguments) {
  const std::vector<Case> cases = [] {
    std::vector<Case> all;
    const auto add = [&](const char* name, auto change) {
      for (DType dtype : {DType::bfloat16, DType::float16}) {
        if (dtype == DType::float16 && all.size() % 4 != 1) continue;  // of every third case
        Case c;
        c.name = name;
        c.dtype = dtype;
        change(c);
        all.push_back(c);
      }
    };
    add("plain", [](Case& c) {});
    add("causal, 384", [](Case& c) { c.queries = c.keys = 384, c.causal = true; });
    add("depth 64, causal", [](Case& c) { c.depth = 64, c.queries = c.keys = 400, c.causal = true, c.batch = 2; });
    add("depth 64, window", [](Case& c) { c.depth = 64, c.queries = c.keys = 400, c.left = 70, c.right = 33; });
    add("window of causal",
        [](Case& c) { c.queries = c.keys = 520, c.left = 150, c.causal = true, c.heads = c.groups = 1; });
    add("one key each", [](Case& c) { c.left = c.right = 0; });
    add("grouped", [](Case& c) { c.heads = 4, c.queries = 130, c.keys = 300, c.causal = true; });
    add("bottom right",
        [](Case& c) { c.queries = 150, c.keys = 700, c.causal = c.bottom_right = true, c.heads = c.groups = 1; });
    add("rows that see nothing", [](Case& c) {
      c.queries = 500, c.keys = 130, c.causal = c.bottom_right = true;
      c.heads = c.groups = 1;
    });
    add("top left, fewer keys", [](Case& c) { c.depth = 64, c.queries = 450, c.keys = 140, c.causal = true; });
    add("sequence first", [](Case& c) { c.batch = 3, c.queries = 140, c.keys = 260, c.layout = "sbhd", c.depth = 64; });
    add("packed qkv", [](Case& c) { c.packing = "qkv", c.causal = true; });
    add("packed kv, sequence first",
        [](Case& c) { c.packing = "kv", c.layout = "sbhd", c.batch = 2, c.keys = 260, c.heads = 4; });
    add("sink", [](Case& c) { c.softmax = "learnable", c.depth = 64, c.causal = true; });
    add("off by one", [](Case& c) { c.softmax = "learnable"; });
    add("many tiles",
        [](Case& c) { c.batch = 3, c.heads = 3, c.groups = 1, c.queries = 260, c.keys = 640, c.depth = 64; });
    const auto trouble = [&](const char* name, auto what, bool causal) {
      add(name, [=](Case& c) { c.trouble = what, c.causal = causal, c.heads = c.groups = 1; });
    };
    trouble("NaN in a value that some see", Case::value_hidden, true);
    trouble("infinity in a value", Case::value_seen, true);
    trouble("NaN in a key that some see", Case::key_hidden, true);
    trouble("NaN in a key", Case::key_seen, false);
    trouble("infinity in dout", Case::dout_row, true);
    trouble("large scores", Case::large, true);
    return all;
  }();
  try {
    cuda::Context gpu;
    cuda::check(cudaGetDeviceProperties(&gpu.properties, 0), "cudaGetDeviceProperties");
    cuda::check(cudaStreamCreateWithFlags(&gpu.main, cudaStreamNonBlocking), "cudaStreamCreate");
    const cuda::Using use(gpu);
    for (const Case& c : cases)
      if (!arguments[1] || std::strstr(c.name, arguments[1])) check(c);
  } catch (const Error& e) {
    std::printf("FAILED: %s\n", e.what());
    return 1;
  }
  return failed ? 1 : 0;
}
