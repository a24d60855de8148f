// Attention on tensor cores: that its work is not done again without a reason, and that its matrix loads meet no bank
// conflicts. What it computes is judged by the op's cases.
#include <cuda_bf16.h>

#include <random>

#include "cuda/attention/gradient.h"
#include "cuda/attention/tensor.h"
#include "emulator/fiber.h"
#include "run_node.h"

using namespace te;
using namespace te::cuda::attention;
using te::test::expect;
using te::test::failures;

namespace {

// Device memory for as long as it lives.
class Memory {
 public:
  explicit Memory(size_t bytes) { cuda::check(cudaMalloc(&p_, bytes ? bytes : 1), "cudaMalloc"); }
  ~Memory() { cudaFree(p_); }
  Memory(const Memory&) = delete;
  void* get() const { return p_; }

 private:
  void* p_ = nullptr;
};

struct Case {
  int queries, keys, heads, groups, depth, window;
  bool odd;  // a value is NaN
};

// How many of `count` blocks are marked.
int marked(const Memory& flags, size_t count) {
  std::vector<uint8_t> host(count);
  cuda::check(cudaStreamSynchronize(cuda::stream()), "attention");
  cudaMemcpy(host.data(), flags.get(), count, cudaMemcpyDeviceToHost);
  int sum = 0;
  for (const uint8_t flag : host) sum += flag;
  return sum;
}

void judge(const std::string& what, int blocks, bool odd) {
  expect((blocks > 0) == odd, what + ": " + std::to_string(blocks) + " blocks are marked");
}

void run(const Case& c) {
  const std::string name = "depth " + std::to_string(c.depth) + (c.window ? ", window" : "") + (c.odd ? ", NaN" : "");
  Node node;
  node.op = "attention_backward";
  const Aval q{{1, c.queries, c.heads, c.depth}, DType::bfloat16}, k{{1, c.keys, c.groups, c.depth}, DType::bfloat16};
  const Aval rows{{1, c.heads, c.queries}, DType::float32};
  node.inputs = {q, q, rows, rows, q, k, k};
  node.params.set("scale", 0.1);
  node.params.set("causal", true);
  node.params.set("windowLeft", c.window ? static_cast<double>(c.window) : -1.0);
  std::string why;
  te::attention::Problem p;
  expect(read_problem(node, te::attention::kBackwardOperands, &p, &why) && takes_tensor_cores(p), name + " " + why);

  std::mt19937 random(3);
  std::normal_distribution<float> normal;
  std::vector<std::unique_ptr<Memory>> held;
  std::vector<const void*> in;
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    const Aval& aval = node.inputs[i];
    held.push_back(std::make_unique<Memory>(aval.bytes()));
    std::vector<__nv_bfloat16> values(aval.size());
    for (auto& x : values) x = __float2bfloat16_rn(normal(random));
    if (c.odd && i == 6) values[20] = __float2bfloat16_rn(NAN);
    if (aval.dtype == DType::bfloat16) cudaMemcpy(held[i]->get(), values.data(), aval.bytes(), cudaMemcpyHostToDevice);
    in.push_back(held[i]->get());
  }
  const Call call{in.data(), nullptr, nullptr};
  const Memory scratch(gradient_bytes(p)), result(q.bytes()), dk(k.bytes()), dv(k.bytes());
  const auto before = emu::statistics;

  Operands a = read_operands(p, call, scratch.get());
  const Memory forward_flags(forward_blocks(a, kTile));
  a.out = const_cast<void*>(in[1]);
  a.max = static_cast<float*>(const_cast<void*>(in[2]));
  a.sum = static_cast<float*>(const_cast<void*>(in[3]));
  a.spoilt = static_cast<uint8_t*>(forward_flags.get());
  tensor_forward_bfloat16(a);
  judge(name + ", forward", marked(forward_flags, forward_blocks(a, kTile)), c.odd);

  if (!c.odd) {
    Operands g = read_gradient(p, call, scratch.get());
    const size_t count = query_blocks(g) + key_gradient_parts(c.depth) * key_blocks(g);
    const Memory flags(count);
    g.dq = result.get(), g.dk = dk.get(), g.dv = dv.get();
    g.spoilt = static_cast<uint8_t*>(flags.get());
    tensor_backward_bfloat16(g);
    judge(name + ", backward", marked(flags, count), false);
  }
  const uint64_t loads = emu::statistics.shared_accesses - before.shared_accesses;
  expect(loads > 0 && emu::statistics.shared_turns - before.shared_turns == loads, name + ": bank conflicts");
}

}  // namespace

int main() {
  cuda::cuda_device(0).start_thread();
  for (const bool odd : {false, true}) {
    run({200, 200, 4, 2, 64, 0, odd});  // blocks of 64 or 128 rows, by how many there are
    run({300, 300, 8, 8, 64, 50, odd});
    run({200, 150, 4, 2, 128, 0, odd});
    run({100, 130, 2, 2, 40, 0, odd});
    run({70, 130, 1, 1, 200, 0, odd});
  }
  if (!failures) std::printf("ok\n");
  return failures ? 1 : 0;
}
