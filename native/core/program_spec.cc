// Looks whether the description of a program holds together: it may have been made by hand.
#include <algorithm>

#include "te/program.h"
#include "te/status.h"

namespace te {
namespace {

void check(bool ok, const char* what) {
  if (!ok) throw Error("state", std::string("compile: the program is not well formed: ") + what);
}

bool is_index(int64_t i, size_t count) { return i >= 0 && static_cast<size_t>(i) < count; }

}  // namespace

std::string describe(const Aval& aval) {
  if (!aval.present) return "none";
  std::string text = std::string(dtype_name(aval.dtype)) + "[";
  for (size_t i = 0; i < aval.shape.size(); ++i) text += (i ? "," : "") + std::to_string(aval.shape[i]);
  return text + "]";
}

namespace {

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

void check_place(const Value& value, size_t bytes, ProgramSizes* sizes) {
  check(value.at >= 0, "a place is negative");
  check(value.aval.present, "a value is absent");
  const auto at = static_cast<size_t>(value.at);
  switch (value.place) {
    case Value::Place::input:
      check(at < sizes->inputs.size(), "an input index is out of range");
      check(sizes->inputs[at] == kAnySize || sizes->inputs[at] == bytes, "views of an input differ in size");
      sizes->inputs[at] = bytes;
      break;
    case Value::Place::arena:
      check(at % 64 == 0, "an arena offset is not a multiple of 64");
      check(at <= sizes->arena && bytes <= sizes->arena - at, "a value reaches behind the arena");
      break;
    case Value::Place::output:
      check(at < sizes->outputs.size(), "an output index is out of range");
      check(bytes <= sizes->outputs[at], "a value reaches behind its output");
      break;
  }
}

// An output takes over the memory of at most one input, of its size, and no two take over the same.
void check_aliases(const ProgramSpec& spec, const ProgramSizes& sizes) {
  std::vector<bool> taken(sizes.inputs.size(), false);
  for (size_t j = 0; j < spec.outputs.size(); ++j) {
    const int alias = spec.outputs[j].alias;
    if (alias < 0) continue;
    check(is_index(alias, sizes.inputs.size()), "an alias is out of range");
    check(sizes.inputs[static_cast<size_t>(alias)] == sizes.outputs[j], "an alias differs in size");
    check(!taken[static_cast<size_t>(alias)], "two outputs take over one input");
    taken[static_cast<size_t>(alias)] = true;
  }
}

void check_node(const ProgramNode& node, const std::vector<Value>& values) {
  for (int v : node.inputs) check(v == -1 || is_index(v, values.size()), "a node's input is out of range");
  for (int v : node.outputs) {
    check(is_index(v, values.size()), "a node's output is out of range");
    check(values[static_cast<size_t>(v)].place != Value::Place::input, "a node writes to an input");
  }
}

}  // namespace

ProgramSizes check_program(const ProgramSpec& spec, const Pool& memory) {
  check(spec.arena_bytes >= 0 && spec.inputs >= 0, "a size is negative");
  memory.expect_room(static_cast<size_t>(spec.arena_bytes));
  ProgramSizes sizes;
  sizes.arena = (static_cast<size_t>(spec.arena_bytes) + 63) & ~size_t{63};
  sizes.inputs.assign(static_cast<size_t>(spec.inputs), kAnySize);
  for (const ProgramOutput& output : spec.outputs) {
    check(is_index(output.value, spec.values.size()), "an output's value is out of range");
    sizes.outputs.push_back(checked_bytes(spec.values[static_cast<size_t>(output.value)].aval));
  }
  for (const Value& value : spec.values) check_place(value, checked_bytes(value.aval), &sizes);
  check_aliases(spec, sizes);
  for (const int i : spec.donated) check(is_index(i, sizes.inputs.size()), "a donated input is out of range");
  for (const ProgramNode& node : spec.nodes) check_node(node, spec.values);
  return sizes;
}

}  // namespace te
