// Compiling a program, and running it: where values lie, the kernels in order, and what becomes of donated inputs.
#include "te/program.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/replay.h"
#include "te/sanitize.h"
#include "te/status.h"

namespace te {
namespace {

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string describe(const Node& node) {
  std::string text = node.op + "(";
  for (size_t i = 0; i < node.inputs.size(); ++i) text += (i ? ", " : "") + describe(node.inputs[i]);
  return text + ")";
}

// Whatever happens to a run: nothing of it goes on aside.
class AsideEnd {
 public:
  AsideEnd(Device& device, bool any) : device_(device), any_(any) {}
  ~AsideEnd() {
    if (any_) device_.end_aside();
  }
  AsideEnd(const AsideEnd&) = delete;

 private:
  Device& device_;
  bool any_;
};

// Hides a workspace for as long as it lives, for the address sanitizer.
class HiddenWorkspace {
 public:
  HiddenWorkspace(const char* memory, size_t bytes) : memory_(memory), bytes_(bytes) { hide_memory(memory, bytes); }
  ~HiddenWorkspace() { show_memory(memory_, bytes_); }
  HiddenWorkspace(const HiddenWorkspace&) = delete;

 private:
  const char* memory_;
  size_t bytes_;
};

}  // namespace

// --- compiling -----------------------------------------------------------------------------------------------------

Program::Program(const ProgramSpec& spec, Device& device)
    : device_(device),
      values_(spec.values),
      outputs_(spec.outputs),
      sizes_(check_program(spec, device.memory)),
      donated_inputs_(spec.donated),
      width_(device.width()) {
  for (const ProgramNode& node : spec.nodes) {
    steps_.push_back(prepare(node, static_cast<int>(steps_.size())));
  }
  plan_aside();
  for (const Step& step : steps_) {
    size_t& most = step.aside ? aside_bytes_ : scratch_bytes_;
    most = std::max(most, step.kernel->scratch_bytes());
  }
  if (aside_bytes_ > 0) scratch_bytes_ = (scratch_bytes_ + 63) & ~size_t{63};
  memory_.resize(values_.size());
  pointers_.resize(operands_.size() + 1);
  given_.resize(input_count());
  taken_.resize(outputs_.size());
  find_first_write();
  if (device_.records()) plan_replays();
}

Program::~Program() = default;

Program::Step Program::prepare(const ProgramNode& from, int index) {
  Node node{from.op, {}, {}, from.params};
  Step step{nullptr, from.op, index, operands_.size(), from.inputs.size(), from.outputs.size()};
  for (int v : from.inputs) {
    node.inputs.push_back(v < 0 ? Aval{{}, DType::float32, false} : values_[static_cast<size_t>(v)].aval);
    operands_.push_back(v);
  }
  for (int v : from.outputs) {
    node.outputs.push_back(values_[static_cast<size_t>(v)].aval);
    operands_.push_back(v);
  }
  std::string why;
  step.kernel = device_.prepare(node, width_, &why);
  if (!step.kernel) throw Error("unsupported", describe(node) + ": " + why);
  return step;
}

void Program::find_first_write() {
  for (const ProgramOutput& output : outputs_) has_alias_ = has_alias_ || output.alias >= 0;
  const auto overwrites = [&](const Step& step) {
    for (size_t k = step.first + step.inputs; k < step.first + step.inputs + step.outputs; ++k) {
      const Value& value = values_[static_cast<size_t>(operands_[k])];
      if (value.place == Value::Place::output && outputs_[static_cast<size_t>(value.at)].alias >= 0) return true;
    }
    return false;
  };
  first_write_ = 0;
  while (first_write_ < steps_.size() && !overwrites(steps_[first_write_])) ++first_write_;
  for (size_t k = 0; k < steps_.size(); ++k) {
    if (!steps_[k].kernel->checks_values()) continue;
    checks_ = true;
    if (k < first_write_ && has_alias_) checks_before_write_ = true;
  }
}

// Exchanges run aside where a step follows that needs not wait for them. The address sanitizer wants to know whose turn
// it is: there they do not.
void Program::plan_aside() {
  if (kExactMemory) return;
  std::vector<int> under_way;
  for (size_t k = 0; k < steps_.size(); ++k) {
    Step& step = steps_[k];
    const bool exchanges = step.kernel->exchanges();
    step.aside = exchanges && k + 1 < steps_.size() && !conflicts(step, steps_[k + 1]);
    if (step.aside) {  // those before it run first in any case
      under_way.push_back(static_cast<int>(k));
      last_aside_ = static_cast<int>(k);
      continue;
    }
    for (const int a : under_way)
      if (exchanges || conflicts(steps_[static_cast<size_t>(a)], step)) step.after = a;
    while (!under_way.empty() && under_way.front() <= step.after) under_way.erase(under_way.begin());
  }
  if (last_aside_ >= 0) aside_.resize(steps_.size());
}

// Whether `later` reads what `aside` writes, or writes what it reads or writes.
bool Program::conflicts(const Step& aside, const Step& later) const {
  const size_t from = later.first, middle = from + later.inputs, end = middle + later.outputs;
  for (size_t k = from; k < end; ++k)
    for (size_t a = aside.first; a < aside.first + aside.inputs + aside.outputs; ++a) {
      const bool both_read = k < middle && a < aside.first + aside.inputs;
      if (!both_read && overlaps(operands_[a], operands_[k])) return true;
    }
  return false;
}

// Whether two values share memory.
bool Program::overlaps(int a, int b) const {
  if (a < 0 || b < 0) return false;
  const Value &x = values_[static_cast<size_t>(a)], &y = values_[static_cast<size_t>(b)];
  const bool in_arena = x.place == Value::Place::arena;
  if (in_arena != (y.place == Value::Place::arena)) return false;
  if (in_arena)
    return x.at < y.at + static_cast<int64_t>(y.aval.bytes()) && y.at < x.at + static_cast<int64_t>(x.aval.bytes());
  // An output may lie in a donated input.
  const auto input_of = [this](const Value& value) -> int64_t {
    if (value.place == Value::Place::input) return value.at;
    const int alias = outputs_[static_cast<size_t>(value.at)].alias;
    return alias >= 0 ? alias : -1 - value.at;
  };
  return input_of(x) == input_of(y);
}

// Slots are for inputs that no output takes over, and for outputs that take over none.
void Program::plan_replays() {
  std::vector<size_t> bytes(sizes_.inputs);
  for (size_t& b : bytes)
    if (b == kAnySize) b = 0;
  for (size_t j = 0; j < outputs_.size(); ++j) {
    const int alias = outputs_[j].alias;
    if (alias >= 0) bytes[static_cast<size_t>(alias)] = 0;
    bytes.push_back(alias >= 0 ? 0 : sizes_.outputs[j]);
  }
  replays_ = std::make_unique<Replays>(device_, bytes);
}

// --- running -------------------------------------------------------------------------------------------------------

struct Program::Run {
  Buffer* const* inputs;
  Buffer* const* outputs;
  char* workspace;
  const std::atomic<bool>& stop;
  std::vector<ProfileRecord>* profile;
};

void Program::run(Buffer* const* inputs, Buffer* const* outputs, char* workspace, const std::atomic<bool>& stop,
                  std::vector<ProfileRecord>* profile) {
  const Run run{inputs, outputs, workspace, stop, profile};
  FailurePtr failure;
  for (size_t i = 0; i < input_count() && !failure; ++i) failure = known_failure(*inputs[i]);
  if (!failure) {
    wrote_ = false;
    taken_.assign(outputs_.size(), false);
    try {
      device_.begin_run(width_, checks_);
      resolve(run);
      enqueue(run);
      copy_outputs(run);
      finish_outputs(run);
      end_donated(run);
      return;
    } catch (...) {
      failure = failure_of(std::current_exception());
      keep_donated(run);
    }
  }
  for (size_t j = 0; j < outputs_.size(); ++j) outputs[j]->failure = failure;
}

// Gives every output its memory: that of a donated input, or a new block. An input that the run uses twice is copied
// instead of taken over.
void Program::place_outputs(const Run& run) {
  if (has_alias_) {
    thread_local uint64_t stamp = 0;
    ++stamp;
    for (size_t i = 0; i < input_count(); ++i) {
      Buffer& b = *run.inputs[i];
      b.uses = b.stamp == stamp ? b.uses + 1 : 1;
      b.stamp = stamp;
    }
  }
  for (size_t j = 0; j < outputs_.size(); ++j) {
    Buffer& out = *run.outputs[j];
    const int alias = outputs_[j].alias;
    if (alias >= 0 && run.inputs[alias]->uses == 1 && run.inputs[alias]->data) {
      out.data = run.inputs[alias]->data;  // both hold it until the run ends
      taken_[j] = true;
      continue;
    }
    out.data = device_.memory.take(out.bytes);
    if (alias >= 0 && out.bytes > 0) device_.copy(out.data, run.inputs[alias]->data, out.bytes);
  }
}

void Program::resolve(const Run& run) {
  if (replays_) replays_->begin();
  for (size_t i = 0; i < input_count(); ++i) given_[i] = run.inputs[i]->data;
  place_outputs(run);
  const auto place = [&](size_t operand, void* data) { return replays_ ? replays_->place(operand, data) : data; };
  for (size_t v = 0; v < values_.size(); ++v) {
    const auto at = static_cast<size_t>(values_[v].at);
    switch (values_[v].place) {
      case Value::Place::input:
        memory_[v] = place(at, given_[at]);
        break;
      case Value::Place::arena:
        memory_[v] = run.workspace + at;
        break;
      case Value::Place::output:
        memory_[v] = place(input_count() + at, run.outputs[at]->data);
        break;
    }
  }
  for (size_t k = 0; k < operands_.size(); ++k)
    pointers_[k] = operands_[k] < 0 ? nullptr : memory_[static_cast<size_t>(operands_[k])];
  pointers_.back() = run.workspace + sizes_.arena;
}

// The kernels before donated inputs are written over, then the others.
void Program::enqueue(const Run& run) {
  const AsideEnd end(device_, last_aside_ >= 0);
  if (replays_) fill_slots(run);
  enqueue_part(run, 0, first_write_);
  if (checks_before_write_) device_.settle();
  wrote_ = true;
  enqueue_part(run, first_write_, steps_.size());
  if (last_aside_ < 0 || replays_) return;
  wait_for(run, last_aside_, last_aside_);
  if (run.profile) report_aside(run);
}

void Program::enqueue_part(const Run& run, size_t first, size_t last) {
  if (first == last) return;
  if (!replays_ || run.profile) return execute(run, first, last);
  replays_->run(first, pointers_, [&] { execute(run, first, last); });
}

void Program::fill_slots(const Run& run) {
  for (size_t i = 0; i < input_count(); ++i)
    if (void* slot = replays_->slot(i)) device_.copy(slot, given_[i], sizes_.inputs[i]);
}

// Under the address sanitizer, a kernel sees its own operands and scratch of the workspace alone.
void Program::show_step(const Step& step, const char* scratch) const {
  for (size_t k = step.first; k < step.first + step.inputs + step.outputs; ++k) {
    if (operands_[k] < 0) continue;
    const Value& value = values_[static_cast<size_t>(operands_[k])];
    if (value.place == Value::Place::arena) show_memory(pointers_[k], value.aval.bytes());
  }
  show_memory(scratch, step.kernel->scratch_bytes());
}

Call Program::call_of(const Run& run, const Step& step) const {
  void* const* operands = pointers_.data() + step.first;
  return {const_cast<const void* const*>(operands), operands + step.inputs,
          run.workspace + sizes_.arena + (step.aside ? scratch_bytes_ : 0)};
}

// A recording is of whole exchanges: what a part starts aside, it ends. Where each kernel is timed on the stream, none
// is aside.
void Program::execute(const Run& run, size_t first, size_t last) {
  const bool in_order = replays_ && run.profile;
  const auto joins = [&](int after) { return after >= (replays_ ? static_cast<int>(first) : 0) && !in_order; };
  int under_way = -1;
  for (size_t k = first; k < last; ++k) {
    Step& step = steps_[k];
    if (joins(step.after)) wait_for(run, step.after, step.node);
    if (run.stop.load(std::memory_order_relaxed)) throw Error("state", "the program was stopped");
    const Call call = call_of(run, step);
    if (step.aside && !in_order) {
      aside_[k].number = device_.start_aside({step.kernel.get(), call, &aside_[k].start_ns, &aside_[k].ns});
      under_way = static_cast<int>(k);
      continue;
    }
    const HiddenWorkspace hidden(run.workspace, kExactMemory ? workspace_bytes() : 0);
    if (kExactMemory) show_step(step, static_cast<const char*>(call.scratch));
    if (!run.profile) {
      step.kernel->run(call);
      continue;
    }
    const int64_t start = now_ns();
    const int64_t ns = device_.time([&] { step.kernel->run(call); });
    run.profile->push_back({step.op, step.node, id, start, ns});
  }
  if (replays_ && under_way >= 0) wait_for(run, under_way, under_way);
}

// In a profile the time that the device waited stands as "wait".
void Program::wait_for(const Run& run, int aside, int node) {
  const int64_t start = run.profile ? now_ns() : 0;
  device_.join_aside(aside_[static_cast<size_t>(aside)].number);
  if (run.profile) run.profile->push_back({"wait", node, id, start, now_ns() - start});
}

void Program::report_aside(const Run& run) const {
  for (size_t k = 0; k < steps_.size(); ++k)
    if (steps_[k].aside) run.profile->push_back({steps_[k].op, steps_[k].node, id, aside_[k].start_ns, aside_[k].ns});
  const auto earlier = [](const ProfileRecord& a, const ProfileRecord& b) { return a.start_ns < b.start_ns; };
  std::stable_sort(run.profile->begin(), run.profile->end(), earlier);
}

// --- after the kernels ---------------------------------------------------------------------------------------------

// Outputs that are an input, an arena value, another output, or in a slot.
void Program::copy_outputs(const Run& run) {
  for (size_t j = 0; j < outputs_.size(); ++j) {
    Buffer& out = *run.outputs[j];
    void* from = memory_[static_cast<size_t>(outputs_[j].value)];
    if (from != out.data && out.bytes > 0) device_.copy(out.data, from, out.bytes);
  }
}

// Leaves in the outputs what may turn out to have failed: this run, and what its inputs came from.
void Program::finish_outputs(const Run& run) {
  std::shared_ptr<const Outcome> own = device_.end_run(checks_);
  std::shared_ptr<Outcomes> all;
  const auto add = [&](std::shared_ptr<const Outcome> outcome) {
    if (!all) all = std::make_shared<Outcomes>();
    if (std::find(all->begin(), all->end(), outcome) == all->end()) all->push_back(std::move(outcome));
  };
  for (size_t i = 0; i < input_count(); ++i)
    if (run.inputs[i]->outcomes)
      for (const auto& outcome : *run.inputs[i]->outcomes) add(outcome);
  if (own) add(std::move(own));
  if (all)
    for (size_t j = 0; j < outputs_.size(); ++j) run.outputs[j]->outcomes = all;
}

// After a run: what outputs took over is theirs alone, other donated inputs give their memory back.
void Program::end_donated(const Run& run) {
  for (size_t j = 0; j < outputs_.size(); ++j) {
    if (!taken_[j]) continue;
    Buffer& in = *run.inputs[outputs_[j].alias];
    in.data = nullptr;
    in.failure = taken_over();
  }
  for (const int i : donated_inputs_) {
    Buffer& in = *run.inputs[i];
    device_.memory.give(std::exchange(in.data, nullptr), in.bytes);
    in.failure = taken_over();
  }
}

// After a run that failed: inputs have their memory to themselves again, with the old contents unless a step that
// writes over them was reached.
void Program::keep_donated(const Run& run) {
  for (size_t j = 0; j < outputs_.size(); ++j) {
    if (!taken_[j]) continue;
    run.outputs[j]->data = nullptr;
    if (!wrote_) continue;
    static const auto lost = std::make_shared<const Failure>(
        Failure{"state", "the program that the tensor was donated to failed after it had written over it"});
    run.inputs[outputs_[j].alias]->failure = lost;
  }
}

}  // namespace te
