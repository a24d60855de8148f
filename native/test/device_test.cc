// A second device, over host memory, whose work is done late: a toy that stands for a GPU. It runs programs through the
// queue without a line of core or cpu knowing it, and shows what core promises: order, failures that arrive with what
// is read, donated memory, arenas, slots and recordings.
#include "te/device.h"

#include <array>
#include <cstring>
#include <deque>
#include <future>

#include "core/replay.h"
#include "te/host_memory.h"
#include "te/queue.h"
#include "te/status.h"
#include "test/harness.h"

using namespace te;
using test::expect;

namespace {

using Work = std::function<void()>;

// How a toy run went: known when its last work is done.
struct ToyOutcome : Outcome {
  bool known() const override { return done.load(); }
  FailurePtr failure() const override { return why; }
  std::atomic<bool> done{false};
  FailurePtr why;
};

// Work waits until somebody fetches something or waits for all, so that nothing is done when its call returns.
class Stream {
 public:
  ~Stream() { finish(); }
  void enqueue(Work work) {
    std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(work));
  }
  void finish() {
    std::lock_guard lock(mutex_);
    for (; !waiting_.empty(); waiting_.pop_front()) waiting_.front()();
  }

 private:
  std::mutex mutex_;
  std::deque<Work> waiting_;
};

// Blocks are freed in the order of the stream.
class ToyMemory : public Allocator {
 public:
  explicit ToyMemory(Stream& stream) : stream_(stream) {}
  void* allocate(size_t bytes) override { return std::aligned_alloc(64, (bytes + 64) / 64 * 64); }
  void release(void* data) override {
    stream_.enqueue([data] { std::free(data); });
  }
  size_t capacity() const override { return size_t{1} << 30; }
  size_t cache_limit() const override { return kExactMemory ? 0 : capacity(); }
  const char* owner() const override { return "the toy"; }

 private:
  Stream& stream_;
};

struct ToyParts {
  Stream stream_;
  ToyMemory allocator_{stream_};
  Pool pool_{allocator_};
};

class Toy : private ToyParts, public Device {
 public:
  Toy() : Device("toy", pool_, host_pool()) {}

  void upload(void* to, const void* from, size_t bytes) override {
    std::vector<char> taken(static_cast<const char*>(from), static_cast<const char*>(from) + bytes);
    enqueue([to, taken = std::move(taken)] { std::memcpy(to, taken.data(), taken.size()); });
  }
  void copy(void* to, const void* from, size_t bytes) override {
    enqueue([=] { std::memcpy(to, from, bytes); });
  }
  void download(void* to, const void* from, size_t bytes, Done done) override {
    enqueue([=] { std::memcpy(to, from, bytes), done(nullptr); });
    finish();
  }
  void fence(Done done) override {
    enqueue([=] { done(nullptr); });
    finish();
  }
  void finish() override { stream_.finish(); }

  std::unique_ptr<Kernel> prepare(const Node& node, int width, std::string* why) override;
  void begin_run(int, bool) override {
    enqueue([this] { failure_ = nullptr; });
  }
  void settle() override {
    ++settled;
    finish();
    if (failure_) throw Error(failure_->code, failure_->message);
  }
  std::shared_ptr<const Outcome> end_run(bool) override {
    auto outcome = std::make_shared<ToyOutcome>();
    enqueue([this, outcome] { outcome->why = failure_, outcome->done = true; });
    return outcome;
  }

  bool records() const override { return true; }
  std::unique_ptr<Recording> record(const std::function<void()>& body) override {
    struct Graph : Recording {
      void replay() override {
        ++toy->replays;
        for (const Work& work : all) toy->enqueue(work);
      }
      Toy* toy;
      std::vector<Work> all;
    };
    auto graph = std::make_unique<Graph>();
    graph->toy = this;
    recorded_ = &graph->all;
    body();
    recorded_ = nullptr;
    return graph;
  }

  // Work of the thread that records is recorded.
  void enqueue(Work work) { recorded_ ? recorded_->push_back(std::move(work)) : stream_.enqueue(std::move(work)); }
  void fail(const std::string& message) { failure_ = std::make_shared<Failure>(Failure{"index", message}); }

  int replays = 0, settled = 0;

 private:
  FailurePtr failure_;  // of the run whose work is being done
  static thread_local std::vector<Work>* recorded_;
};
thread_local std::vector<Work>* Toy::recorded_ = nullptr;

// twice: y = 2 x; plus: y = a + b; positive: y = x, and values below 0 are an error. All float32.
class ToyKernel : public Kernel {
 public:
  ToyKernel(Toy& toy, const Node& node) : toy_(toy), op_(node.op), n_(node.outputs[0].size()) {}
  size_t scratch_bytes() const override { return 256; }
  bool checks_values() const override { return op_ == "positive"; }
  void run(const Call& call) override {
    const auto *a = call.input<float>(0), *b = op_ == "plus" ? call.input<float>(1) : nullptr;
    auto *y = call.output<float>(0), *scratch = static_cast<float*>(call.scratch);
    toy_.enqueue([this, a, b, y, scratch] {
      for (int64_t i = 0; i < n_; ++i) {
        scratch[0] = a[i];
        if (op_ == "positive" && a[i] < 0) toy_.fail("positive: got " + std::to_string(a[i]));
        y[i] = op_ == "twice" ? 2 * scratch[0] : b ? scratch[0] + b[i] : scratch[0];
      }
    });
  }

 private:
  Toy& toy_;
  std::string op_;
  int64_t n_;
};

std::unique_ptr<Kernel> Toy::prepare(const Node& node, int, std::string* why) {
  if (node.op == "twice" || node.op == "plus" || node.op == "positive") return std::make_unique<ToyKernel>(*this, node);
  *why = "a toy has no kernel of this name";
  return nullptr;
}

// --- what a session does, in a few lines
// ------------------------------------------------------------------------------

class TestClient : public Client {
 public:
  void finished(uint64_t, FailurePtr failure, void* memory) override { answer_.set_value({failure, memory}); }
  void uploaded(void*) override {}
  std::pair<FailurePtr, void*> await(Queue& queue, Task task) {
    answer_ = {};
    task.client = this;
    queue.submit(task);
    return answer_.get_future().get();
  }

 private:
  std::promise<std::pair<FailurePtr, void*>> answer_;
};

constexpr int64_t kCount = 4;
constexpr size_t kBytes = kCount * sizeof(float);
using Floats4 = std::array<float, kCount>;

struct Bench {
  Toy toy;
  TestClient client;
  std::shared_ptr<Queue> queue = Queue::acquire(toy);

  ~Bench() {
    queue->drop(&client);
    queue.reset();  // before the device
  }

  Buffer* tensor(Floats4 values) {
    auto* buffer = new Buffer;
    buffer->bytes = kBytes;
    buffer->data = toy.memory.take(kBytes);
    toy.upload(buffer->data, values.data(), kBytes);
    return buffer;
  }
  std::vector<Buffer*> run(Program& program, std::vector<Buffer*> operands) {
    const size_t inputs = operands.size();
    for (size_t j = 0; j < program.output_count(); ++j) {
      operands.push_back(new Buffer);
      operands.back()->bytes = program.output_bytes(j);
    }
    Task task;
    task.kind = Task::Kind::run;
    task.client = &client;
    task.program = &program;
    queue->submit(task, {}, operands);
    return {operands.begin() + static_cast<int64_t>(inputs), operands.end()};
  }
  // "" or the failure.
  std::string read(Buffer* buffer, Floats4* into) {
    Task task;
    task.kind = Task::Kind::read;
    task.buffer = buffer;
    task.memory = into->data();
    const FailurePtr failure = client.await(*queue, task).first;
    return failure ? failure->code + ": " + failure->message : "";
  }
  void free(const std::vector<Buffer*>& buffers) {
    Task task;
    task.kind = Task::Kind::free;
    task.client = &client;
    queue->submit(task, buffers);
  }
  // Runs a program of one input and one output.
  std::string once(Program& program, Floats4 x, Floats4* y) {
    Buffer* from = tensor(x);
    const std::vector<Buffer*> to = run(program, {from});
    const std::string failure = read(to[0], y);
    free({from, to[0]});
    return failure;
  }
};

Value value(Value::Place place, int64_t at) { return {{{kCount}, DType::float32, true}, place, at}; }
constexpr auto kInput = Value::Place::input, kArena = Value::Place::arena, kOutput = Value::Place::output;

// y = first(2 x), through the arena; `alias`: whether y takes over x.
ProgramSpec chain(const std::string& first, bool alias) {
  ProgramSpec spec;
  spec.values = {value(kInput, 0), value(kArena, 0), value(kArena, 64), value(kOutput, 0)};
  spec.nodes = {{first, {0}, {1}, {}}, {"twice", {1}, {2}, {}}, {"twice", {2}, {3}, {}}};
  spec.inputs = 1;
  spec.outputs = {{3, alias ? 0 : -1}};
  if (alias) spec.donated = {0};
  spec.arena_bytes = 128;
  return spec;
}

void check_runs_and_recordings() {
  Bench bench;
  Program program(chain("positive", false), bench.toy);
  Floats4 y;
  for (int i = 0; i < 8; ++i) {  // eagerly, once more where an operand got a slot, recorded and replayed, replayed ...
    const auto x = static_cast<float>(i + 1);
    expect(bench.once(program, {x, 2 * x, 0, 1}, &y) == "", "a run on the toy");
    expect(y == Floats4{4 * x, 8 * x, 0, 4}, "its result");
  }
  expect(kExactMemory || bench.toy.replays >= 5, "operands at other addresses do not stop replays");
}

void check_late_failures() {
  Bench bench;
  Program checked(chain("positive", false), bench.toy), plain(chain("twice", false), bench.toy);
  Buffer *bad = bench.tensor({1, -2, 3, 4}), *good = bench.tensor({1, 2, 3, 4});
  Buffer* failed = bench.run(checked, {bad})[0];
  Buffer* dependent = bench.run(plain, {failed})[0];
  Buffer* other = bench.run(checked, {good})[0];
  Floats4 y;
  expect(bench.read(dependent, &y).find("index: positive: got -2") == 0, "a failure comes with what depends on it");
  expect(bench.read(failed, &y).find("index: positive: got -2") == 0, "and with the result itself");
  expect(bench.read(other, &y) == "" && y == Floats4{4, 8, 12, 16}, "the next run is not touched");
  Buffer* later = bench.run(plain, {failed})[0];
  expect(bench.read(later, &y).find("index: positive: got -2") == 0, "a failure that is known ends a run at once");
  bench.free({bad, good, failed, dependent, other, later});
}

void check_donation() {
  Bench bench;
  Program program(chain("positive", true), bench.toy);
  Buffer* x = bench.tensor({1, 2, 3, 4});
  const void* memory = x->data;
  Buffer* y = bench.run(program, {x})[0];
  Floats4 values;
  expect(bench.read(y, &values) == "" && values == Floats4{4, 8, 12, 16}, "a run that takes its input over");
  expect(y->data == memory && x->data == nullptr && x->failure == taken_over(), "the memory is the output's now");
  expect(bench.toy.settled > 0, "kernels are asked for failures before donated memory is written over");

  Buffer* refused = bench.tensor({1, -2, 3, 4});
  Buffer* nothing = bench.run(program, {refused})[0];
  expect(bench.read(nothing, &values).find("index: positive") == 0, "a refused value");
  expect(bench.read(refused, &values) == "" && values == Floats4{1, -2, 3, 4}, "leaves the donated input as it was");
  bench.free({x, y, refused, nothing});
}

// x is donated and read by a second input: it is copied, not written over.
void check_shared_donation() {
  Bench bench;
  ProgramSpec spec;
  spec.values = {value(kInput, 0), value(kInput, 1), value(kOutput, 0), value(kOutput, 1)};
  spec.nodes = {{"twice", {0}, {2}, {}}, {"plus", {1, 2}, {3}, {}}};
  spec.inputs = 2;
  spec.outputs = {{2, 0}, {3, -1}};
  Program program(spec, bench.toy);
  for (int i = 0; i < 3; ++i) {
    Buffer* x = bench.tensor({1, 2, 3, 4});
    const std::vector<Buffer*> y = bench.run(program, {x, x});
    Floats4 values;
    expect(bench.read(y[0], &values) == "" && values == Floats4{2, 4, 6, 8}, "twice x");
    expect(bench.read(y[1], &values) == "" && values == Floats4{3, 6, 9, 12}, "three times x");
    expect(bench.read(x, &values) == "" && values == Floats4{1, 2, 3, 4}, "x is what it was");
    bench.free({x, y[0], y[1]});
  }
}

// An operand that comes somewhere else gets a slot, and from then on all runs replay: a small one at once, a large one
// when it does so in every run.
void check_moving_operands() {
  Toy toy;
  std::vector<char> memory(64);
  Replays quick(toy, {64});
  const auto come = [&](int at) { quick.run(0, {quick.place(0, &memory[static_cast<size_t>(at)])}, [] {}); };
  come(0), come(0);
  expect(toy.replays == 1 && !quick.slot(0), "a small operand that stays needs no slot");
  come(1), come(2), come(3), come(4);
  expect(toy.replays == 4 && quick.slot(0), "one that moves gets one");

  const size_t bytes = Replays::kSlotBytes + 64;
  Replays replays(toy, {bytes, bytes, 0});
  int moves = 0, bodies = 0;
  const auto run = [&] {
    replays.begin();
    replays.run(0, {replays.place(0, &memory[static_cast<size_t>(moves++)]), replays.place(1, &memory[63])},
                [&] { ++bodies; });
  };
  while (!replays.slot(0) && moves < 40) run();
  expect(replays.slot(0) && moves < 15, "an operand that moves gets a slot");
  expect(!replays.slot(1) && !replays.slot(2), "one that stays gets none");
  run(), run();  // by the body, and recorded
  const int before = bodies, replayed = toy.replays;
  for (int i = 0; i < 10; ++i) run();
  expect(bodies == before && toy.replays == replayed + 10, "and every run is a replay");
}

void check_fetch_and_order() {
  Bench bench;
  Program program(chain("twice", false), bench.toy);
  Buffer* x = bench.tensor({1, 1, 1, 1});
  for (int i = 0; i < 4; ++i) {  // each takes the memory that the last gave back while its work still waited
    Buffer* y = bench.run(program, {x})[0];
    bench.free({x});
    x = y;
  }
  Task task;
  task.kind = Task::Kind::fetch;
  task.buffer = x;
  const auto [failure, memory] = bench.client.await(*bench.queue, task);
  expect(!failure && memory && static_cast<float*>(memory)[3] == 4096, "memory is reused in the order of the stream");
  bench.toy.host.give(memory, kBytes);
  bench.free({x});
}

// What a hand-made description may not say.
void check_refusals() {
  Toy toy;
  const auto refused = [&](const char* what, const std::function<void(ProgramSpec&)>& change) {
    ProgramSpec spec = chain("twice", false);
    change(spec);
    try {
      Program program(spec, toy);
      expect(false, std::string("refuses ") + what);
    } catch (const Error& error) {
      expect(error.code == "state" || error.code == "unsupported", std::string(what) + ": " + error.what());
    }
  };
  refused("an unknown op", [](ProgramSpec& s) { s.nodes[0].op = "thrice"; });
  refused("a value behind the arena", [](ProgramSpec& s) { s.values[2].at = 128; });
  refused("a value larger than the arena", [](ProgramSpec& s) { s.values[2].aval.shape = {40}; });
  refused("a value larger than its output", [](ProgramSpec& s) {
    s.values.push_back(value(kOutput, 0));
    s.values.back().aval.shape = {5};
  });
  refused("values of one input that differ", [](ProgramSpec& s) {
    s.values.push_back(value(kInput, 0));
    s.values.back().aval.shape = {5};
  });
  refused("an output of another size than its input's", [](ProgramSpec& s) {
    s.values[0].aval.shape = {3};
    s.outputs[0].alias = 0;
  });
  refused("two outputs over one input", [](ProgramSpec& s) { s.outputs = {{3, 0}, {3, 0}}; });
  refused("a node that writes to an input", [](ProgramSpec& s) { s.nodes[0].outputs = {0}; });
}

}  // namespace

int main() {
  check_runs_and_recordings();
  check_late_failures();
  check_donation();
  check_shared_donation();
  check_moving_operands();
  check_fetch_and_order();
  check_refusals();
  return test::failures();
}
