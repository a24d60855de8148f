// Exchanges beside other kernels: a program whose exchanges are slow gives what it gives step by step, whatever memory
// its values share, and nothing of a run goes on when it has ended.
#include "te/side_thread.h"

#include <algorithm>
#include <cstring>
#include <thread>
#include <utility>

#include "te/host_memory.h"
#include "te/sanitize.h"
#include "te/status.h"
#include "test/drawn_program.h"
#include "test/harness.h"

using namespace te;
using namespace te::test;

namespace {

std::atomic<int> begun{0}, under_way{0}, exchanged{0};

// add: y = a + b. fails: it does, beside an exchange. exchange: y = 2 x + 1, some time after its call. broken: an
// exchange that fails.
class TestKernel : public Kernel {
 public:
  explicit TestKernel(const std::string& op) : op_(op) {}
  size_t scratch_bytes() const override { return kBytes; }
  bool exchanges() const override { return op_ == "exchange" || op_ == "broken"; }
  void run(const Call& call) override {
    if (op_ == "fails") {
      while (begun == 0 && !kExactMemory) std::this_thread::yield();
      throw Error("index", "there is no such row");
    }
    const auto *a = call.input<float>(0), *b = op_ == "add" ? call.input<float>(1) : a;
    auto *y = call.output<float>(0), *scratch = static_cast<float*>(call.scratch);
    if (op_ != "add") {
      ++under_way;
      ++begun;
      std::this_thread::sleep_for(std::chrono::microseconds(300));
      --under_way;
      if (op_ == "broken") throw Error("backend", "the peer is gone");
      ++exchanged;
    }
    for (int64_t i = 0; i < kCount; ++i) scratch[i] = a[i] + b[i];
    for (int64_t i = 0; i < kCount; ++i) y[i] = scratch[i] + (op_ == "add" ? 0 : 1);
  }

 private:
  std::string op_;
};

class Prompt : public Device {
 public:
  Prompt() : Device("prompt", host_pool(), host_pool()) {}
  void upload(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes, Done done) override {
    std::memcpy(to, from, bytes);
    done(nullptr);
  }
  void fence(Done done) override { done(nullptr); }
  void finish() override {}
  std::unique_ptr<Kernel> prepare(const Node& node, int, std::string*) override {
    return std::make_unique<TestKernel>(node.op);
  }
};

struct Result {
  Floats values;
  FailurePtr failure;
  std::vector<ProfileRecord> profile;
};

Result run(const ProgramSpec& spec, const Floats& x, const Floats& y) {
  Prompt device;
  Program program(spec, device);
  Buffer in[2], out;
  Buffer* inputs[] = {&in[0], &in[1]};
  Buffer* outputs[] = {&out};
  for (int i = 0; i < 2; ++i) {
    in[i].bytes = kBytes;
    in[i].data = device.memory.take(kBytes);
    std::memcpy(in[i].data, (i ? y : x).data(), kBytes);
  }
  out.bytes = kBytes;
  char* workspace = static_cast<char*>(device.memory.take(program.workspace_bytes()));
  const std::atomic<bool> stop{false};
  Result result;
  program.run(inputs, outputs, workspace, stop, &result.profile);
  expect(under_way == 0, "nothing is under way after a run");
  result.failure = out.failure;
  if (!out.failure) std::memcpy(result.values.data(), out.data, kBytes);
  device.memory.give(workspace, program.workspace_bytes());
  for (Buffer* buffer : {&in[0], &in[1], &out}) device.memory.give(std::exchange(buffer->data, nullptr), kBytes);
  return result;
}

void check_drawn_programs() {
  const Floats x = numbers(1), y = numbers(-3);
  for (unsigned seed = 0; seed < 200; ++seed) {
    const Drawn drawn(seed);
    const Result got = run(drawn.spec, x, y);
    const bool equal = !got.failure && got.values == wanted(drawn.spec, x, y);
    expect(equal, "drawn program " + std::to_string(seed) + " gives what its steps give one by one");
  }
}

// x → exchange → slot 0; add to slot 1, and again; then both together.
ProgramSpec beside(const std::string& exchange) {
  ProgramSpec spec;
  spec.values = {value(Value::Place::input, 0), value(Value::Place::input, 1), value(Value::Place::output, 0),
                 value(Value::Place::arena, 0), value(Value::Place::arena, kBytes)};
  spec.nodes = {{exchange, {0}, {3}, {}}, {"add", {0, 1}, {4}, {}}, {"add", {3, 4}, {2}, {}}};
  spec.inputs = 2;
  spec.outputs = {{2, -1}};
  spec.arena_bytes = 2 * kBytes;
  return spec;
}

void check_overlap() {
  if (kExactMemory) return;  // nothing runs aside
  const Result got = run(beside("exchange"), numbers(1), numbers(2));
  std::vector<std::string> ops;
  for (const ProfileRecord& record : got.profile) ops.push_back(record.op);
  expect(std::count(ops.begin(), ops.end(), "wait") == 2, "the profile says where the device waited, and at the end");
  const auto of = [&](const std::string& op) {
    for (const ProfileRecord& record : got.profile)
      if (record.op == op) return record;
    return ProfileRecord{};
  };
  expect(of("exchange").ns >= 300'000, "an exchange has its own time");
  expect(of("wait").start_ns >= of("add").start_ns, "a step that needs nothing of it runs before the wait");
}

void check_failure() {
  const Result got = run(beside("broken"), numbers(1), numbers(2));
  expect(got.failure && got.failure->message == "the peer is gone", "an exchange that fails is the failure of the run");
  const Result next = run(beside("exchange"), numbers(1), numbers(2));
  expect(!next.failure, "the run after it does not fail");
}

// A step that fails ends the run when the exchange beside it has: its operands are given back then.
void check_end() {
  ProgramSpec spec = beside("exchange");
  spec.nodes[1].op = "fails";
  begun = 0;
  const Result got = run(spec, numbers(1), numbers(2));
  expect(got.failure && got.failure->message == "there is no such row", "a step beside an exchange that fails is told");
}

// An exchange that was started beside the one that fails finds no peer either: it would wait for one.
void check_rest() {
  ProgramSpec spec = beside("broken");
  spec.values.push_back(value(Value::Place::arena, 2 * kBytes));
  spec.nodes.insert(spec.nodes.begin() + 1, {"exchange", {1}, {5}, {}});
  spec.arena_bytes = 3 * kBytes;
  exchanged = 0;
  const Result got = run(spec, numbers(1), numbers(2));
  expect(got.failure && exchanged == 0, "exchanges behind one that failed are left out");
}

}  // namespace

int main() {
  check_drawn_programs();
  check_overlap();
  check_failure();
  check_rest();
  check_end();
  return test::failures();
}
