// A compiled program: kernels in order, and where each of their operands lives. Built once, run many times.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "te/buffer.h"
#include "te/kernel.h"

namespace te {

struct Value {
  enum class Place : int { input = 0, arena = 1, output = 2 };
  Aval aval;
  Place place = Place::arena;
  int64_t at = 0;  // index of the input or output, or byte offset in the arena
};

struct ProgramNode {
  std::string op;
  std::vector<int> inputs;  // value indices, -1 for an absent operand
  std::vector<int> outputs;
  Params params;
};

struct ProgramOutput {
  int value = 0;
  int alias = -1;  // the input whose memory this output takes over
};

struct ProgramSpec {
  std::vector<Value> values;
  std::vector<ProgramNode> nodes;
  int inputs = 0;
  std::vector<ProgramOutput> outputs;
  std::vector<int> donated;  // inputs that end with a run, whether an output takes their memory over or none
  int64_t arena_bytes = 0;
};

struct ProfileRecord {
  std::string op;
  int node = 0;
  int executable = 0;
  int64_t start_ns = 0, ns = 0;  // start: the monotonic clock
};

class Program {
 public:
  // Prepares every kernel. Throws te::Error "unsupported" naming the op that no kernel takes, and "state" when the
  // description does not hold together.
  explicit Program(const ProgramSpec& spec);

  size_t input_count() const { return input_bytes_.size(); }
  size_t output_count() const { return outputs_.size(); }
  size_t input_bytes(size_t i) const { return input_bytes_[i]; }
  size_t output_bytes(size_t i) const { return output_bytes_[i]; }
  int alias(size_t i) const { return outputs_[i].alias; }
  // Inputs that end with a run that succeeds. One that fails before it writes over them leaves them as they were.
  const std::vector<int>& donated() const { return donated_inputs_; }
  // Arena of the values, then the largest scratch of a kernel.
  size_t workspace_bytes() const { return arena_bytes_ + scratch_bytes_; }
  int threads() const { return threads_; }
  size_t node_count() const { return steps_.size(); }

  // Fills the outputs. On failure every output carries it. `stop` ends the run between two kernels. Device thread only.
  void run(Buffer* const* inputs, Buffer* const* outputs, char* workspace, const std::atomic<bool>& stop,
           std::vector<ProfileRecord>* profile);

  int id = 0;
  void* reference = nullptr;  // its owner's: the weak reference to the object that holds the handle

 private:
  struct Step {
    std::unique_ptr<Kernel> kernel;
    std::string op;
    int node;
    size_t first, inputs, outputs;  // operands_[first ...]: inputs, then outputs
  };
  void find_donated(const ProgramSpec& spec);
  void resolve(Buffer* const* inputs, Buffer* const* outputs, char* workspace);
  void place_outputs(Buffer* const* inputs, Buffer* const* outputs);
  void end_donated(Buffer* const* inputs);
  void keep_donated(Buffer* const* inputs, Buffer* const* outputs);
  void execute(const std::atomic<bool>& stop, char* workspace, std::vector<ProfileRecord>* profile);
  void show_step(const Step& step, const char* scratch) const;

  std::vector<Value> values_;
  std::vector<Step> steps_;
  std::vector<int> operands_;
  std::vector<ProgramOutput> outputs_;
  std::vector<size_t> input_bytes_, output_bytes_;
  size_t arena_bytes_ = 0, scratch_bytes_ = 0;
  std::vector<int> donated_inputs_;
  size_t first_write_;  // the first step that writes over a donated input
  bool has_alias_ = false;
  int threads_ = 1;
  // Of the current run.
  std::vector<void*> memory_;    // of each value
  std::vector<void*> pointers_;  // of each operand
  std::vector<void*> donated_;   // of each input, before outputs took any over
  std::vector<bool> taken_;      // of each output: it writes over a donated input
  size_t progress_ = 0;          // the step that runs
};

}  // namespace te
