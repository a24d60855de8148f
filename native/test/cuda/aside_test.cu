// Exchanges on a stream of their own: programs that hold some give what their steps give one by one, whatever memory
// their values share and whatever order the streams take, kernel by kernel and as graphs.
#include <string>
#include <utility>

#include "core/replay.h"
#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/registration.h"
#include "emulator/fiber.h"
#include "run_node.h"
#include "te/program.h"
#include "te/status.h"
#include "test/drawn_program.h"

using namespace te;
using namespace te::test;

namespace {

__global__ void __launch_bounds__(kCount) add_floats(const float* a, const float* b, float* y, float more) {
  y[threadIdx.x] = a[threadIdx.x] + b[threadIdx.x] + more;
}

// With the scratch between, which others of its kind use too.
class TestKernel : public Kernel {
 public:
  explicit TestKernel(const std::string& op) : op_(op) {}
  size_t scratch_bytes() const override { return kBytes; }
  bool exchanges() const override { return op_ != "add"; }
  void run(const Call& call) override {
    const auto *a = call.input<float>(0), *b = op_ == "add" ? call.input<float>(1) : a;
    auto* scratch = static_cast<float*>(call.scratch);
    cuda::launch("add", add_floats, {dim3(1), dim3(kCount)}, a, b, scratch, op_ == "add" ? 0.0f : 1.0f);
    if (op_ == "broken") throw Error("backend", "the peer is gone");
    cuda::check(cudaMemcpyAsync(call.out[0], scratch, kBytes, cudaMemcpyDeviceToDevice, cuda::stream()), "copy");
  }

 private:
  std::string op_;
};

std::unique_ptr<Kernel> prepare(const Node& node, std::string*) { return std::make_unique<TestKernel>(node.op); }
TE_CUDA_KERNEL(add, prepare);
TE_CUDA_KERNEL(exchange, prepare);
TE_CUDA_KERNEL(broken, prepare);

// A program with memory of its own.
class Bench {
 public:
  explicit Bench(const ProgramSpec& spec) : program_(spec, device_) {
    for (Buffer* buffer : {&in_[0], &in_[1]}) buffer->bytes = kBytes, buffer->data = device_.memory.take(kBytes);
    out_.bytes = kBytes;
    workspace_ = static_cast<char*>(device_.memory.take(program_.workspace_bytes()));
  }
  ~Bench() {
    device_.finish();
    device_.memory.give(workspace_, program_.workspace_bytes());
    for (Buffer& buffer : in_) device_.memory.give(buffer.data, kBytes);
  }
  Bench(const Bench&) = delete;

  // The failure, or null. The result lies where it lay in the run before, so that the second run is captured.
  FailurePtr run(const Floats& x, const Floats& y, Floats* result, bool profiled = false) {
    for (int i = 0; i < 2; ++i) device_.upload(in_[i].data, (i ? y : x).data(), kBytes), in_[i].failure = nullptr;
    out_.failure = nullptr;
    void* const first = in_[0].data;
    Buffer* inputs[] = {&in_[0], &in_[1]};
    Buffer* outputs[] = {&out_};
    const std::atomic<bool> stop{false};
    std::vector<ProfileRecord> profile;
    program_.run(inputs, outputs, workspace_, stop, profiled ? &profile : nullptr);
    if (!out_.failure) download_now(device_, result->data(), out_.data, kBytes);
    in_[0].data = first;
    if (void* data = std::exchange(out_.data, nullptr); data && data != first) device_.memory.give(data, kBytes);
    return out_.failure;
  }

 private:
  Device& device_ = cuda::cuda_device(0);
  Program program_;
  Buffer in_[2], out_;
  char* workspace_;
};

void check_drawn_programs() {
  const Floats x = numbers(1), y = numbers(-3);
  int wrong = 0;
  for (unsigned seed = 0; seed < 150; ++seed) {
    emu::set_seed(seed);
    const Drawn drawn(seed);
    const Floats right = wanted(drawn.spec, x, y), other = wanted(drawn.spec, y, x);
    Bench bench(drawn.spec);
    Floats got;
    for (int run = 0; run < 4; ++run) {
      const bool turned = run % 2 == 1;  // so that nothing is right because an earlier run left it
      const FailurePtr failure = turned ? bench.run(y, x, &got) : bench.run(x, y, &got);
      wrong += failure || got != (turned ? other : right);
    }
    wrong += bench.run(x, y, &got, true) || got != right;
  }
  expect(wrong == 0, std::to_string(wrong) + " runs of drawn programs do not give what their steps give one by one");
  expect(Replays::replayed > 100, "most programs were replayed");
}

void check_failure() {
  ProgramSpec spec;
  spec.values = {value(Value::Place::input, 0), value(Value::Place::input, 1), value(Value::Place::output, 0),
                 value(Value::Place::arena, 0), value(Value::Place::arena, kBytes)};
  spec.nodes = {{"exchange", {0}, {3}, {}}, {"add", {0, 1}, {4}, {}}, {"add", {3, 4}, {2}, {}}};
  spec.inputs = 2;
  spec.outputs = {{2, -1}};
  spec.arena_bytes = 2 * kBytes;
  const ProgramSpec whole = spec;
  spec.nodes[0].op = "broken";
  Bench good(whole), bad(spec);
  Floats got;
  for (int run = 0; run < 3; ++run) {
    const FailurePtr failure = bad.run(numbers(1), numbers(2), &got);
    expect(failure && failure->message == "the peer is gone", "an exchange that fails is the failure of the run");
    expect(!good.run(numbers(1), numbers(2), &got), "the run after it does not fail");
    expect(got == wanted(whole, numbers(1), numbers(2)), "and is right");
  }
}

}  // namespace

int main() {
  cuda::cuda_device(0).start_thread();
  check_drawn_programs();
  check_failure();
  return failures ? 1 : 0;
}
