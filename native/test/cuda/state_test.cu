// delayed_scaling_update and adamw_update over many tensors at once, in the memory of their operands, and sums of
// squares: tables that are filled more than once, histories longer than a block, and sizes around chunks.
#include <cfloat>
#include <cmath>
#include <random>

#include "run_node.h"

using namespace te;
using namespace te::test;

std::mt19937 source(11);
std::vector<float> uniform(size_t n) {
  std::uniform_real_distribution<float> draw(0.01f, 4);
  std::vector<float> x(n);
  for (float& v : x) v = draw(source);
  return x;
}
Aval floats(int64_t n) { return {{n}, DType::float32}; }

void scalings() {
  const std::vector<int64_t> lengths = {1, 2, 3, 16, 127, 128, 129, 300, 1024};
  Node node;
  node.op = "joined_delayed_scaling_update";
  std::vector<Bytes> inputs;
  std::vector<std::vector<float>> histories;
  std::vector<float> amaxes, scales;
  std::vector<std::string> dtypes, algorithms;
  std::vector<double> margins;
  std::vector<int> in_place;
  const int count = 150;  // three tables
  for (int k = 0; k < count; ++k) {
    const int64_t n = lengths[static_cast<size_t>(k) % lengths.size()];
    histories.push_back(uniform(static_cast<size_t>(n)));
    if (k % 7 == 3 && n > 2) histories.back()[2] = k % 2 ? NAN : INFINITY;
    amaxes.push_back(k % 5 == 4 ? INFINITY : uniform(1)[0]);
    scales.push_back(uniform(1)[0]);
    dtypes.push_back(k % 2 ? "float8_e5m2" : "float8_e4m3fn");
    algorithms.push_back(k % 3 ? "max" : "most_recent");
    margins.push_back(k % 4);
    for (const int64_t size : {int64_t{1}, int64_t{1}, n}) node.inputs.push_back(floats(size));
    node.outputs.push_back(floats(1)), node.outputs.push_back(floats(n));
    inputs.push_back(bytes_of<float>({amaxes.back()}));
    inputs.push_back(bytes_of<float>({scales.back()}));
    inputs.push_back(bytes_of(histories.back()));
    in_place.push_back(3 * k + 1), in_place.push_back(3 * k + 2);
  }
  node.params.set("dtype", dtypes);
  node.params.set("margin", margins);
  node.params.set("amaxComputeAlgo", algorithms);
  const std::vector<Bytes> apart = run_node(node, inputs), together = run_node(node, inputs, in_place);
  expect(apart == together, "scalings: the same in the memory of their operands");
  bool right = true;
  for (size_t k = 0; k < count; ++k) {
    std::vector<float> h = histories[k];
    h[0] = amaxes[k];
    float a = h[0];
    if (algorithms[k] == "max")
      for (const float v : h) a = std::isnan(v) || v > a ? v : a;
    const float factor = std::exp2(-static_cast<float>(margins[k]));
    const float largest = dtypes[k] == "float8_e5m2" ? 57344.0f : 448.0f;
    const float scale = a > 0 && std::isfinite(a) ? std::min(largest / a * factor, FLT_MAX) : scales[k];
    std::vector<float> rolled(h.begin() + 1, h.end());
    rolled.push_back(h[0]);
    rolled[0] = 0;
    for (float& v : rolled) v = std::isfinite(v) ? v : 0;
    right = right && values_of<float>(apart[2 * k])[0] == scale && values_of<float>(apart[2 * k + 1]) == rolled;
  }
  expect(right, "scalings: scales and histories");
}

void updates(bool clip, bool apply) {
  const std::vector<int64_t> sizes = {1, 7, 8, 0, 2049, 16384, 16385, 40001};
  Node joined;
  joined.op = "joined_adamw_update";
  joined.inputs = {{{}, DType::float32}, {{}, DType::int32}};
  std::vector<Bytes> inputs = {bytes_of<float>({0.01f}), bytes_of<int32_t>({3})};
  const float norm = 3.5f, max_norm = 0.5f;
  if (clip) {
    joined.inputs.push_back({{}, DType::float32}), joined.inputs.push_back({{}, DType::boolean});
    inputs.push_back(bytes_of<float>({norm})), inputs.push_back({0});
  }
  std::vector<double> decays;
  std::vector<int> in_place;
  std::vector<std::vector<Bytes>> singles;
  const int count = 100;  // three tables
  for (int k = 0; k < count; ++k) {
    const int64_t n = k < 16 ? sizes[static_cast<size_t>(k) % sizes.size()] : 1 + k % 21;
    decays.push_back(k % 2 ? 0.1 : 0);
    const std::vector<float> g = uniform(static_cast<size_t>(n)), p = uniform(static_cast<size_t>(n));
    const int first = static_cast<int>(joined.inputs.size());
    const std::vector<Bytes> moments = {bytes_of(uniform(static_cast<size_t>(n))),
                                        bytes_of(uniform(static_cast<size_t>(n)))};
    for (const Bytes& b : {bytes_of(g), moments[0], moments[1], bytes_of(p)})
      inputs.push_back(b), joined.inputs.push_back(floats(n));
    for (int i = 0; i < 3; ++i) joined.outputs.push_back(floats(n));
    in_place.insert(in_place.end(), {apply ? first + 3 : -1, first + 1, first + 2});
    Node one;
    one.op = "adamw_update";
    one.inputs = {floats(n), floats(n), floats(n), floats(n), {{}, DType::float32}, {{}, DType::int32}};
    one.outputs = {floats(n), floats(n), floats(n)};
    one.params.set("weightDecay", decays.back());
    std::vector<float> clipped = g;
    if (clip)
      for (float& v : clipped) v = v / norm * max_norm;
    singles.push_back(run_node(one, {bytes_of(clipped), moments[0], moments[1], bytes_of(p), inputs[0], inputs[1]}));
    if (apply) {
      std::vector<float> sum = values_of<float>(singles.back()[0]);
      for (size_t i = 0; i < sum.size(); ++i) sum[i] += p[i];
      singles.back()[0] = bytes_of(sum);
    }
  }
  joined.params.set("weightDecay", decays);
  joined.params.set("apply", apply);
  joined.params.set("clip", clip);
  joined.params.set("maxNorm", static_cast<double>(max_norm));
  const std::string name = std::string("updates") + (clip ? ", clipped" : "") + (apply ? ", applied" : "");
  const std::vector<Bytes> apart = run_node(joined, inputs), together = run_node(joined, inputs, in_place);
  expect(apart == together, name + ": the same in the memory of their operands");
  bool same = true;
  for (size_t k = 0; k < count; ++k)
    for (size_t i = 0; i < 3; ++i) same = same && apart[3 * k + i] == singles[k][i];
  expect(same, name + ": the bits of one at a time");
}

void squares() {
  const std::vector<int64_t> sizes = {0, 1, 7, 8, 2048, 16383, 16384, 16385, 50000};
  Node joined;
  joined.op = "joined_square_sum";
  std::vector<Bytes> inputs;
  std::vector<Bytes> singles;
  bool close = true;
  for (int k = 0; k < 150; ++k) {  // two tables
    const int64_t n = k < 9 ? sizes[static_cast<size_t>(k)] : 1 + k;
    const std::vector<float> x = uniform(static_cast<size_t>(n));
    std::vector<float> products = x;
    double sum = 0;
    for (float& v : products) v *= v, sum += v;
    joined.inputs.push_back(floats(n)), joined.outputs.push_back({{}, DType::float32});
    inputs.push_back(bytes_of(x));
    Node one;
    one.op = "reduce_sum";
    one.inputs = {floats(n)};
    one.outputs = {{{}, DType::float32}};
    one.params.set("axes", std::vector<double>{0});
    singles.push_back(run_node(one, {bytes_of(products)})[0]);
    close = close && std::fabs(values_of<float>(singles.back())[0] - sum) <= 1e-6 * sum;
  }
  expect(close, "sums of whole tensors");
  expect(run_node(joined, inputs) == singles, "sums of squares: the bits of one at a time");
}

int main() {
  scalings();
  for (const bool clip : {false, true})
    for (const bool apply : {false, true}) updates(clip, apply);
  squares();
  return failures ? 1 : 0;
}
