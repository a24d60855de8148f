#include "te/program.h"

#include <chrono>
#include <cstring>
#include <new>
#include <utility>

#include "te/parallel.h"
#include "te/sanitize.h"
#include "te/status.h"

namespace te {
namespace {

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

std::string describe(const Aval& aval) {
  if (!aval.present) return "none";
  std::string text = std::string(dtype_name(aval.dtype)) + "[";
  for (size_t i = 0; i < aval.shape.size(); ++i) text += (i ? "," : "") + std::to_string(aval.shape[i]);
  return text + "]";
}

std::string describe(const Node& node) {
  std::string text = node.op + "(";
  for (size_t i = 0; i < node.inputs.size(); ++i) text += (i ? ", " : "") + describe(node.inputs[i]);
  return text + ")";
}

void check(bool ok, const char* what) {
  if (!ok) throw Error("state", std::string("compile: the program is not well formed: ") + what);
}

// Sizes multiply without overflow and no dimension is negative.
size_t checked_bytes(const Aval& aval) {
  size_t bytes = dtype_bytes(aval.dtype);
  bool empty = false;
  for (int64_t d : aval.shape) {
    check(d >= 0, "a dimension is negative");
    empty = empty || d == 0;
  }
  if (empty) return 0;
  for (int64_t d : aval.shape)
    if (__builtin_mul_overflow(bytes, static_cast<size_t>(d), &bytes) || bytes > (size_t{1} << 60))
      throw Error("memory", "cannot allocate " + describe(aval) + ": it has more than 2^60 bytes.");
  return bytes;
}

std::shared_ptr<const Failure> failure_of(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return std::make_shared<Failure>(Failure{e.code, e.what()});
  } catch (const std::bad_alloc&) {
    return std::make_shared<Failure>(Failure{"memory", "a kernel ran out of memory"});
  } catch (const std::exception& e) {
    return std::make_shared<Failure>(Failure{"backend", e.what()});
  } catch (...) {
    return std::make_shared<Failure>(Failure{"backend", "a kernel failed for an unknown reason"});
  }
}

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

const std::shared_ptr<const Failure>& taken_over() {
  static const auto failure =
      std::make_shared<const Failure>(Failure{"disposed", "the tensor was donated to a program that ran before"});
  return failure;
}

Program::Program(const ProgramSpec& spec) : values_(spec.values), outputs_(spec.outputs) {
  threads_ = wanted_threads();
  use_threads(threads_);
  check(spec.arena_bytes >= 0 && spec.inputs >= 0, "a size is negative");
  check_memory(static_cast<size_t>(spec.arena_bytes), 0);
  arena_bytes_ = (static_cast<size_t>(spec.arena_bytes) + 63) & ~size_t{63};

  input_bytes_.assign(static_cast<size_t>(spec.inputs), SIZE_MAX);
  for (const Value& value : values_) {
    const size_t bytes = checked_bytes(value.aval);
    check(value.at >= 0, "a place is negative");
    const auto at = static_cast<size_t>(value.at);
    switch (value.place) {
      case Value::Place::input:
        check(at < input_bytes_.size(), "an input index is out of range");
        check(input_bytes_[at] == SIZE_MAX || input_bytes_[at] == bytes, "views of an input differ in size");
        input_bytes_[at] = bytes;
        break;
      case Value::Place::arena:
        check(at % 64 == 0, "an arena offset is not a multiple of 64");
        check(at <= arena_bytes_ && bytes <= arena_bytes_ - at, "a value reaches behind the arena");
        break;
      case Value::Place::output:
        check(at < outputs_.size(), "an output index is out of range");
        check(static_cast<size_t>(outputs_[at].value) < values_.size() &&
                  bytes <= checked_bytes(values_[static_cast<size_t>(outputs_[at].value)].aval),
              "a value reaches behind its output");
        break;
    }
  }
  for (const ProgramOutput& output : outputs_) {
    check(output.value >= 0 && static_cast<size_t>(output.value) < values_.size(), "an output's value is out of range");
    const Value& value = values_[static_cast<size_t>(output.value)];
    output_bytes_.push_back(value.aval.bytes());
    if (output.alias < 0) continue;
    has_alias_ = true;
    check(static_cast<size_t>(output.alias) < input_bytes_.size(), "an alias is out of range");
    check(input_bytes_[static_cast<size_t>(output.alias)] == value.aval.bytes(), "an alias differs in size");
  }

  for (size_t index = 0; index < spec.nodes.size(); ++index) {
    const ProgramNode& from = spec.nodes[index];
    Node node{from.op, {}, {}, from.params};
    Step step{nullptr, from.op, static_cast<int>(index), operands_.size(), from.inputs.size(), from.outputs.size()};
    for (int v : from.inputs) {
      check(v >= -1 && v < static_cast<int>(values_.size()), "a node's input is out of range");
      node.inputs.push_back(v < 0 ? Aval{{}, DType::float32, false} : values_[static_cast<size_t>(v)].aval);
      operands_.push_back(v);
    }
    for (int v : from.outputs) {
      check(v >= 0 && v < static_cast<int>(values_.size()), "a node's output is out of range");
      check(values_[static_cast<size_t>(v)].place != Value::Place::input, "a node writes to an input");
      node.outputs.push_back(values_[static_cast<size_t>(v)].aval);
      operands_.push_back(v);
    }
    std::string why;
    step.kernel = prepare_kernel(node, &why);
    if (!step.kernel) throw Error("unsupported", describe(node) + ": " + why);
    scratch_bytes_ = std::max(scratch_bytes_, step.kernel->scratch_bytes());
    steps_.push_back(std::move(step));
  }
  memory_.resize(values_.size());
  pointers_.resize(operands_.size());
  donated_.resize(input_bytes_.size());
  taken_.resize(outputs_.size());
  find_donated(spec);
}

void Program::find_donated(const ProgramSpec& spec) {
  for (const int i : spec.donated) {
    check(i >= 0 && static_cast<size_t>(i) < input_bytes_.size(), "a donated input is out of range");
    donated_inputs_.push_back(i);
  }
  const auto overwrites = [&](const Step& step) {
    for (size_t k = step.first + step.inputs; k < step.first + step.inputs + step.outputs; ++k) {
      const Value& value = values_[static_cast<size_t>(operands_[k])];
      if (value.place == Value::Place::output && outputs_[static_cast<size_t>(value.at)].alias >= 0) return true;
    }
    return false;
  };
  first_write_ = 0;
  while (first_write_ < steps_.size() && !overwrites(steps_[first_write_])) ++first_write_;
}

// Gives every output its memory: that of a donated input, or a new block. An input that the run uses twice, or that two
// outputs want, is copied instead of taken over.
void Program::place_outputs(Buffer* const* inputs, Buffer* const* outputs) {
  if (has_alias_) {
    static uint64_t run = 0;
    ++run;
    for (size_t i = 0; i < input_bytes_.size(); ++i) {
      Buffer& b = *inputs[i];
      b.uses = b.stamp == run ? b.uses + 1 : 1;
      b.stamp = run;
    }
  }
  for (size_t j = 0; j < outputs_.size(); ++j) {
    Buffer& out = *outputs[j];
    const int alias = outputs_[j].alias;
    if (alias < 0) {
      out.data = Pool::get().take(out.bytes);
      continue;
    }
    Buffer& in = *inputs[alias];
    if (in.uses == 1 && in.data) {
      out.data = in.data;  // both hold it until the run ends
      taken_[j] = true;
    } else {
      out.data = Pool::get().take(out.bytes);
      std::memcpy(out.data, donated_[static_cast<size_t>(alias)], out.bytes);
    }
  }
}

// After a run: what outputs took over is theirs alone, other donated inputs give their memory back.
void Program::end_donated(Buffer* const* inputs) {
  for (size_t j = 0; j < outputs_.size(); ++j) {
    if (!taken_[j]) continue;
    Buffer& in = *inputs[outputs_[j].alias];
    in.data = nullptr;
    in.failure = taken_over();
  }
  for (const int i : donated_inputs_) {
    Buffer& in = *inputs[i];
    Pool::get().give(std::exchange(in.data, nullptr), in.bytes);
    in.failure = taken_over();
  }
}

// After a run that failed: inputs have their memory to themselves again, with the old contents unless a step that
// writes over them was reached.
void Program::keep_donated(Buffer* const* inputs, Buffer* const* outputs) {
  for (size_t j = 0; j < outputs_.size(); ++j) {
    if (!taken_[j]) continue;
    outputs[j]->data = nullptr;
    if (progress_ < first_write_) continue;
    static const auto lost = std::make_shared<const Failure>(
        Failure{"state", "the program that the tensor was donated to failed after it had written over it"});
    inputs[outputs_[j].alias]->failure = lost;
  }
}

void Program::resolve(Buffer* const* inputs, Buffer* const* outputs, char* workspace) {
  for (size_t i = 0; i < input_bytes_.size(); ++i) donated_[i] = inputs[i]->data;
  place_outputs(inputs, outputs);
  for (size_t v = 0; v < values_.size(); ++v) {
    const auto at = static_cast<size_t>(values_[v].at);
    switch (values_[v].place) {
      case Value::Place::input:
        memory_[v] = donated_[at];
        break;
      case Value::Place::arena:
        memory_[v] = workspace + at;
        break;
      case Value::Place::output:
        memory_[v] = outputs[at]->data;
        break;
    }
  }
  for (size_t k = 0; k < operands_.size(); ++k)
    pointers_[k] = operands_[k] < 0 ? nullptr : memory_[static_cast<size_t>(operands_[k])];
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

void Program::execute(const std::atomic<bool>& stop, char* workspace, std::vector<ProfileRecord>* profile) {
  char* const scratch = workspace + arena_bytes_;
  for (progress_ = 0; progress_ < steps_.size(); ++progress_) {
    Step& step = steps_[progress_];
    if (stop.load(std::memory_order_relaxed)) throw Error("state", "the program was stopped");
    void* const* operands = pointers_.data() + step.first;
    const Call call{const_cast<const void* const*>(operands), operands + step.inputs, scratch};
    const HiddenWorkspace hidden(workspace, kExactMemory ? workspace_bytes() : 0);
    if (kExactMemory) show_step(step, scratch);
    if (!profile) {
      step.kernel->run(call);
      continue;
    }
    const int64_t start = now_ns();
    step.kernel->run(call);
    profile->push_back({step.op, step.node, id, start, now_ns() - start});
  }
}

void Program::run(Buffer* const* inputs, Buffer* const* outputs, char* workspace, const std::atomic<bool>& stop,
                  std::vector<ProfileRecord>* profile) {
  std::shared_ptr<const Failure> failure;
  for (size_t i = 0; i < input_bytes_.size() && !failure; ++i) failure = inputs[i]->failure;
  if (!failure) {
    progress_ = 0;
    taken_.assign(outputs_.size(), false);
    try {
      use_threads(threads_);
      resolve(inputs, outputs, workspace);
      execute(stop, workspace, profile);
      for (size_t j = 0; j < outputs_.size(); ++j) {  // an output that is an input, an arena value or another output
        void* from = memory_[static_cast<size_t>(outputs_[j].value)];
        if (from != outputs[j]->data) std::memcpy(outputs[j]->data, from, outputs[j]->bytes);
      }
      end_donated(inputs);
      return;
    } catch (...) {
      failure = failure_of(std::current_exception());
      keep_donated(inputs, outputs);
    }
  }
  for (size_t j = 0; j < outputs_.size(); ++j) outputs[j]->failure = failure;
}

}  // namespace te
