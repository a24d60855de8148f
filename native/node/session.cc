// A session's beginning and end, what it submits, and what it waits for.
#include "node/session.h"

#include <utility>

namespace te {

Session::Session(napi_env env, Device& device)
    : env_(env),
      device_(device),
      queue_(Queue::acquire(device)),
      reads_(env, "te-" + device.name, device.host),
      pressure_(device.memory.capacity()) {}

Session::~Session() = default;

void Session::close() {
  if (!queue_) return;
  cancelled = true;
  queue_->drop(this);
  for (Buffer* buffer : dead_) free_buffer(buffer, device_.memory);
  for (Buffer* buffer : buffers_.remove_all()) {
    if (buffer->reference) napi_delete_reference(env_, static_cast<napi_ref>(buffer->reference));
    free_buffer(buffer, device_.memory);
  }
  for (Program* program : programs_.remove_all()) {
    if (program->reference) napi_delete_reference(env_, static_cast<napi_ref>(program->reference));
    delete program;
  }
  reads_.close();
  queue_.reset();
}

void Session::submit(Task task, const std::vector<Buffer*>& operands) {
  task.client = this;
  queue_->submit(task, dead_, operands);
  dead_.clear();
  dead_bytes_ = 0;
}

// Blocks until everything submitted so far is done.
void Session::wait_for_queue() {
  reads_.close_gate();
  Task task;
  task.token = Reads::kGate;
  submit(task);
  reads_.wait_at_gate();
}

// --- reading -------------------------------------------------------------------------------------------------------

napi_value Session::promise(Task task, napi_value array) {
  const size_t bytes = task.kind == Task::Kind::fetch ? task.buffer->bytes : 0;
  napi_value promise = reads_.open(array, bytes, &task.token);
  submit(task);
  return promise;
}

Buffer& Session::expect(int32_t handle, size_t bytes) {
  Buffer& buffer = buffers_.at(handle);
  if (bytes != buffer.bytes)
    throw Error("shape", "read: the tensor has " + std::to_string(buffer.bytes) + " bytes, the array " +
                             std::to_string(bytes) + ".");
  return buffer;
}

napi_value Session::read(int32_t handle, napi_value array, void* to, size_t bytes) {
  Task task;
  task.kind = Task::Kind::read;
  Buffer& buffer = expect(handle, bytes);
  task.buffer = &buffer;
  task.memory = to;
  napi_value result = promise(task, array);
  if (buffer.donated) touch_donated(buffer, handle);
  return result;
}

napi_value Session::fetch(int32_t handle) {
  Task task;
  task.kind = Task::Kind::fetch;
  Buffer& buffer = buffers_.at(handle);
  task.buffer = &buffer;
  napi_value result = promise(task, nullptr);
  if (buffer.donated) touch_donated(buffer, handle);
  return result;
}

napi_value Session::wait() { return promise({}, nullptr); }

void Session::read_sync(int32_t handle, void* to, size_t bytes) {
  const Buffer& buffer = expect(handle, bytes);
  if (!queue_->idle()) wait_for_queue();
  FailurePtr failure = buffer.failure;
  if (!failure && bytes) failure = download_now(device_, to, buffer.data, bytes);
  if (!failure) failure = first_failure(buffer.outcomes);
  if (failure) throw Error(failure->code, failure->message);
}

}  // namespace te
