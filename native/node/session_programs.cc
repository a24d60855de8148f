// The programs of a session, and their runs.
#include <memory>

#include "node/session.h"

namespace te {

int32_t Session::compile(const ProgramSpec& spec) {
  auto program = std::make_unique<Program>(spec, device_);
  const int32_t handle = programs_.add(program.get());
  program->id = handle;
  program_bytes_ += program.release()->node_count() * kPerBuffer;
  return handle;
}

void Session::destroy(int32_t handle) {
  Program* program = programs_.remove(handle);
  if (program->reference) napi_delete_reference(env_, static_cast<napi_ref>(program->reference));
  program_bytes_ -= program->node_count() * kPerBuffer;
  if (queue_->idle())
    delete program;
  else
    end(program);
}

// Deletes the program when the device is past its runs.
void Session::end(Program* program) {
  Task task;
  task.kind = Task::Kind::end;
  task.program = program;
  submit(task);
}

void Session::run(int32_t handle, int32_t* handles, size_t count) {
  Program& program = programs_.at(handle);
  const size_t inputs = program.input_count(), outputs = program.output_count();
  if (count != inputs + outputs)
    throw Error("state", "run: the program has " + std::to_string(inputs) + " inputs and " + std::to_string(outputs) +
                             " outputs, got room for " + std::to_string(count) + " handles.");
  operands_.clear();
  drop_taken();
  for (size_t i = 0; i < inputs; ++i) {
    Buffer& buffer = buffers_.at(handles[i]);
    if (buffer.bytes != program.input_bytes(i) && program.input_bytes(i) != kAnySize)
      throw Error("shape", "run: input " + std::to_string(i) + " has " + std::to_string(buffer.bytes) +
                               " bytes, the program was compiled for " + std::to_string(program.input_bytes(i)) + ".");
    operands_.push_back(&buffer);
  }
  for (size_t j = 0; j < outputs; ++j) {
    Buffer* buffer = new_buffer(program.output_bytes(j));
    operands_.push_back(buffer);
    const int alias = program.alias(j);
    handles[inputs + j] = add(buffer, alias < 0 ? nullptr : operands_[static_cast<size_t>(alias)]);
  }
  Task task;
  task.kind = Task::Kind::run;
  task.program = &program;
  for (const int i : program.donated()) stop_counting(*operands_[static_cast<size_t>(i)]);
  submit(task, operands_);
  for (const int i : program.donated()) operands_[static_cast<size_t>(i)]->donated = queue_->submitted();
  for (size_t i = 0; i < inputs; ++i)
    if (operands_[i]->donated) touch_donated(*operands_[i], handles[i]);
}

}  // namespace te
