// elementwise(inputs...){code, outputs}: a fused chain of elementwise primitives. A large node is compiled at run time
// (source.h) where NVRTC is found; others, and all without it, are interpreted (interpreter.cuh).
#include <algorithm>

#include "cuda/elementwise/code.h"
#include "cuda/elementwise/interpreter.cuh"
#include "cuda/elementwise/runtime_compiler.h"
#include "cuda/elementwise/source.h"
#include "cuda/launch.h"
#include "cuda/registration.h"

namespace te::cuda::element {
namespace {

constexpr int64_t kLargeNode = 16384;  // elements that pay for compiling

// Gives every register a slot; that of one that nobody reads any more is used again.
class Slots {
 public:
  explicit Slots(const Code& code) : slot_(code.registers.size(), 0), last_(code.registers.size(), -1) {
    const int length = static_cast<int>(code.steps.size());
    for (int s = 0; s < length; ++s)
      for (int r : {code.steps[s].a, code.steps[s].b, code.steps[s].c})
        if (r >= 0) last_[r] = s;
    for (const Value& value : code.outputs) last_[value.at] = length;
    for (size_t r = 0; r < code.registers.size(); ++r)  // inputs are read again, and constants stay
      if (code.registers[r].constant || code.registers[r].input >= 0) slot_[r] = count_++, last_[r] = length;
    for (int s = 0; s < length; ++s) place(code.steps[s], s);
  }
  int of(int r) const { return slot_[static_cast<size_t>(r < 0 ? 0 : r)]; }
  int count() const { return count_; }

 private:
  void place(const Step& step, int s) {
    for (int r : {step.a, step.b, step.c})
      if (r >= 0 && last_[r] == s && std::find(free_.begin(), free_.end(), slot_[r]) == free_.end())
        free_.push_back(slot_[r]);
    if (free_.empty()) free_.push_back(count_++);
    slot_[step.out] = free_.back();
    free_.pop_back();
    if (last_[step.out] < 0) free_.push_back(slot_[step.out]);
  }
  std::vector<int> slot_, last_, free_;
  int count_ = 0;
};

Divisor divisor(int64_t size) {
  if (size <= 0 || size > INT32_MAX) return {size, 0, 0};
  uint32_t shift = 0;
  while ((uint64_t{1} << shift) < static_cast<uint64_t>(size)) ++shift;
  const uint64_t factor = ((uint64_t{1} << 32) * ((uint64_t{1} << shift) - static_cast<uint64_t>(size))) / size + 1;
  return {size, static_cast<uint32_t>(factor), shift};
}

unsigned blocks_for(int64_t total, int per_block) {
  const int64_t wanted = (total + per_block - 1) / per_block;
  return static_cast<unsigned>(std::clamp<int64_t>(wanted, 1, int64_t{32} * context().properties.multiProcessorCount));
}

// What both ways have: the operands.
class Elementwise : public Kernel {
 public:
  Elementwise(const Node& node, const Walk& walk) : inputs_(node.inputs.size()), outputs_(node.outputs.size()) {
    arguments_.total = walk.total;
    for (size_t d = 0; d < walk.sizes.size(); ++d) arguments_.dims[d] = divisor(walk.sizes[d]);
    for (size_t k = 0; k < inputs_; ++k)
      for (size_t d = 0; d < walk.sizes.size(); ++d) arguments_.stride[k][d] = walk.inputs[k].strides[d];
  }
  void run(const Call& call) override {
    if (arguments_.total == 0) return;
    for (size_t k = 0; k < inputs_; ++k) arguments_.in[k] = call.in[k];
    for (size_t j = 0; j < outputs_; ++j) arguments_.out[j] = call.out[j];
    launch_it();
  }

 protected:
  virtual void launch_it() = 0;
  Arguments arguments_{};

 private:
  size_t inputs_, outputs_;
};

class Compiled : public Elementwise {
 public:
  Compiled(const Node& node, const Walk& walk, const void* kernel, int vector)
      : Elementwise(node, walk), kernel_(kernel), blocks_(blocks_for(walk.total, kSourceThreads * vector)) {}
  std::string path() const override { return "compiled"; }

 private:
  void launch_it() override {
    launch_compiled("elementwise", kernel_, {dim3(blocks_), dim3(kSourceThreads)}, &arguments_);
  }
  const void* kernel_;
  unsigned blocks_;
};

class Interpreter : public Elementwise {
 public:
  Interpreter(const Node& node, const Walk& walk, const Code& code)
      : Elementwise(node, walk), blocks_(blocks_for(walk.total, kThreads * kVector)) {
    const Slots slots(code);
    shared_bytes_ = static_cast<size_t>(slots.count()) * kThreads * sizeof(Four);
    program_.rank = static_cast<int>(walk.sizes.size());
    for (size_t k = 0; k < node.inputs.size(); ++k) {
      const InputPlan::Mode mode = walk.inputs[k].mode;
      program_.in_dtype[k] = node.inputs[k].dtype;
      program_.in_slot[k] = static_cast<uint8_t>(slots.of(static_cast<int>(k)));
      program_.reads[k] = mode == InputPlan::Mode::full     ? Reads::whole
                          : mode == InputPlan::Mode::scalar ? Reads::scalar
                                                            : Reads::strided;
      ++program_.inputs;
    }
    for (size_t r = 0; r < code.registers.size(); ++r) {
      if (!code.registers[r].constant) continue;
      program_.constant_slot[program_.constants] = static_cast<uint8_t>(slots.of(static_cast<int>(r)));
      program_.constant[program_.constants++] = code.registers[r].bits;
    }
    const auto slot = [&](int r) { return static_cast<uint8_t>(slots.of(r)); };
    for (const Step& s : code.steps)
      program_.step[program_.steps++] = {s.function, slot(s.a), slot(s.b), slot(s.c), slot(s.out)};
    for (const Value& value : code.outputs) {
      program_.out_dtype[program_.outputs] = value.dtype;
      program_.out_slot[program_.outputs++] = slot(value.at);
    }
    if (shared_bytes_ > size_t{48} << 10)
      allow_shared(small() ? interpret<uint32_t> : interpret<long long>, shared_bytes_);
  }
  std::string path() const override { return "interpreted"; }

  // More shared memory than this cannot be had. Above it the code's values do not fit.
  static bool fits(const Code& code) {
    const size_t constants = static_cast<size_t>(
        std::count_if(code.registers.begin(), code.registers.end(), [](const CodeRegister& r) { return r.constant; }));
    return code.steps.size() <= kMaxSteps && constants <= kMaxConstants &&
           static_cast<size_t>(Slots(code).count()) * kThreads * sizeof(Four) <=
               context().properties.sharedMemPerBlockOptin;
  }

 private:
  bool small() const { return arguments_.total < INT32_MAX; }
  void launch_it() override {
    launch("elementwise", small() ? interpret<uint32_t> : interpret<long long>,
           {dim3(blocks_), dim3(kThreads), shared_bytes_}, arguments_, program_);
  }
  Interpreted program_{};
  unsigned blocks_;
  size_t shared_bytes_;
};

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  if (!node.params.only({"code", "outputs"}, why)) return nullptr;
  Code code;
  Walk walk;
  if (!read_code(node, &code, why) || !plan_walk(node, &walk, why)) return nullptr;
  if (node.inputs.size() > kMaxInputs || node.outputs.size() > kMaxOutputs || walk.sizes.size() > kMaxDims)
    return *why = "more operands or dimensions than the kernel takes", nullptr;
  const Compile wanted = wanted_compilation();
  if ((wanted == Compile::always && walk.total > 0) || (wanted == Compile::large && walk.total >= kLargeNode)) {
    const Source source = source_of(node, code, walk);
    std::string reason;
    if (const void* kernel = compiled_kernel(source.text, &reason))
      return std::make_unique<Compiled>(node, walk, kernel, source.vector);
    if (wanted == Compile::always) throw Error("backend", reason);
  }
  if (!Interpreter::fits(code)) return *why = "more values at once than the interpreter holds", nullptr;
  return std::make_unique<Interpreter>(node, walk, code);
}
TE_CUDA_KERNEL(elementwise, prepare);

}  // namespace
}  // namespace te::cuda::element
