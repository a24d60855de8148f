// A compiled program: kernels in order, and where each of their operands lives. Built once, run many times.
#pragma once
#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "te/device.h"

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

// "float32[2,3]", or "none".
std::string describe(const Aval& aval);

// What a program needs, after its description was checked.
struct ProgramSizes {
  std::vector<size_t> inputs, outputs;  // bytes; of an input that no value lies in, kAnySize
  size_t arena = 0;
};
inline constexpr size_t kAnySize = SIZE_MAX;

// Throws te::Error "state" unless every value lies inside of its input, output or the arena, and every index is one, so
// that no kernel is given memory that its shapes reach beyond; "memory" for sizes that `memory` can never hold.
ProgramSizes check_program(const ProgramSpec& spec, const Pool& memory);

class Replays;

class Program {
 public:
  // Prepares every kernel. Throws te::Error "unsupported" naming the op that no kernel takes, and what check_program
  // throws.
  Program(const ProgramSpec& spec, Device& device);
  ~Program();

  size_t input_count() const { return sizes_.inputs.size(); }
  size_t output_count() const { return outputs_.size(); }
  size_t input_bytes(size_t i) const { return sizes_.inputs[i]; }
  size_t output_bytes(size_t i) const { return sizes_.outputs[i]; }
  int alias(size_t i) const { return outputs_[i].alias; }
  // Inputs that end with a run that succeeds. One that fails before it writes over them leaves them as they were.
  const std::vector<int>& donated() const { return donated_inputs_; }
  // Arena of the values, then the largest scratch of a kernel, then that of a kernel which runs aside.
  size_t workspace_bytes() const { return sizes_.arena + scratch_bytes_ + aside_bytes_; }
  size_t node_count() const { return steps_.size(); }

  // Enqueues the kernels, and fills the outputs or leaves its failure in all of them. `stop` ends the run between two
  // kernels. The queue's thread only.
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
    bool aside = false;             // beside those that follow
    int after = -1;                 // the step aside that must be done before
  };
  struct Run;
  Step prepare(const ProgramNode& from, int index);
  void find_first_write();
  void plan_aside();
  bool conflicts(const Step& aside, const Step& later) const;
  bool overlaps(int a, int b) const;
  void plan_replays();
  void resolve(const Run& run);
  void place_outputs(const Run& run);
  void enqueue(const Run& run);
  void enqueue_part(const Run& run, size_t first, size_t last);
  void fill_slots(const Run& run);
  void execute(const Run& run, size_t first, size_t last);
  Call call_of(const Run& run, const Step& step) const;
  void wait_for(const Run& run, int aside, int node);
  void report_aside(const Run& run) const;
  void copy_outputs(const Run& run);
  void finish_outputs(const Run& run);
  void end_donated(const Run& run);
  void keep_donated(const Run& run);
  void show_step(const Step& step, const char* scratch) const;

  Device& device_;
  std::vector<Value> values_;
  std::vector<Step> steps_;
  std::vector<int> operands_;
  std::vector<ProgramOutput> outputs_;
  ProgramSizes sizes_;
  size_t scratch_bytes_ = 0, aside_bytes_ = 0;
  int last_aside_ = -1;
  std::vector<int> donated_inputs_;
  size_t first_write_;                                 // the first step that writes over a donated input
  bool checks_ = false, checks_before_write_ = false;  // a kernel checks values: any, one before first_write_
  bool has_alias_ = false;
  int width_ = 1;
  std::unique_ptr<Replays> replays_;  // where the device records
  // Of the current run.
  std::vector<void*> memory_;    // of each value
  std::vector<void*> pointers_;  // of each operand, then the scratch
  std::vector<void*> given_;     // of each input, before outputs took any over
  std::vector<bool> taken_;      // of each output: it writes over a donated input
  bool wrote_ = false;           // donated inputs are written over, perhaps
  struct AsideRun {
    uint64_t number = 0;
    int64_t start_ns = 0, ns = 0;
  };
  std::vector<AsideRun> aside_;  // of each step, where any runs aside
};

}  // namespace te
