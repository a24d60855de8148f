#include "node/session.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace te {

namespace {
constexpr int64_t kReport = int64_t{1} << 20;    // tell V8 about external memory in steps of a megabyte
constexpr size_t kDeadBytes = size_t{16} << 20;  // released memory that may wait for the next submission
constexpr uint64_t kSyncToken = 0;               // of the task that wait_for_device submits
}  // namespace

napi_value make_error(napi_env env, const std::string& code, const std::string& message) {
  napi_value js_code, js_message, error;
  napi_create_string_utf8(env, code.data(), code.size(), &js_code);
  napi_create_string_utf8(env, message.data(), message.size(), &js_message);
  napi_create_error(env, js_code, js_message, &error);
  return error;
}

Session::Session(napi_env env) : env_(env), device_(Device::acquire()) {
  napi_value name;
  napi_create_string_utf8(env, "te-cpu", NAPI_AUTO_LENGTH, &name);
  const auto call_js = [](napi_env e, napi_value, void* context, void*) {
    if (e) static_cast<Session*>(context)->settle();
  };
  napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, call_js, &wake_);
  napi_unref_threadsafe_function(env, wake_);  // only a pending promise keeps the process alive
}

Session::~Session() = default;

void Session::close() {
  if (!device_) return;
  cancelled = true;
  for (Buffer* buffer : buffers_.remove_all()) dead_.push_back(buffer);
  for (Program* program : programs_.remove_all()) end(program);
  wait_for_device();
  napi_release_threadsafe_function(wake_, napi_tsfn_abort);
  device_.reset();
}

// --- buffers -------------------------------------------------------------------------------------------------------

Buffer* Session::new_buffer(size_t bytes) {
  auto* buffer = new Buffer;
  buffer->bytes = bytes;
  return buffer;
}

int32_t Session::add(Buffer* buffer, Buffer* takes_over) {
  const int32_t handle = buffers_.add(buffer);
  buffer->counted = buffer->bytes;
  const size_t before = takes_over ? std::exchange(takes_over->counted, 0) : 0;
  live_ += buffer->counted - before;
  peak_ = std::max(peak_, live_);
  if (before == 0) account(static_cast<int64_t>(buffer->counted));
  return handle;
}

int32_t Session::create(size_t bytes) {
  void* data = Pool::get().take(bytes);
  Buffer* buffer = new_buffer(bytes);
  buffer->data = data;
  return add(buffer);
}

int32_t Session::from_bytes(const void* from, size_t bytes) {
  const int32_t handle = create(bytes);
  if (bytes) std::memcpy(buffers_.at(handle).data, from, bytes);
  return handle;
}

void Session::write(int32_t handle, const void* from, size_t bytes) {
  Buffer& buffer = buffers_.at(handle);
  if (bytes != buffer.bytes)
    throw Error("shape", "write: the tensor has " + std::to_string(buffer.bytes) + " bytes, the array " +
                             std::to_string(bytes) + ".");
  if (!device_->idle()) wait_for_device();  // runs that use the buffer come first
  if (!buffer.data) throw Error("disposed", "write: the tensor has no memory; it was donated or its program failed.");
  if (bytes) std::memcpy(buffer.data, from, bytes);
}

void Session::release(int32_t handle) {
  Buffer* buffer = buffers_.remove(handle);
  live_ -= buffer->counted;
  if (buffer->counted > 0) account(-static_cast<int64_t>(buffer->counted));
  dead_.push_back(buffer);
  dead_bytes_ += buffer->bytes;
  free_dead_if_idle();
  if (dead_bytes_ > kDeadBytes) {
    Task task;
    task.kind = Task::Kind::free;
    submit(task);
  }
}

void Session::free_dead_if_idle() {
  if (!device_->idle()) return;
  for (Buffer* buffer : dead_) free_buffer(buffer);
  dead_.clear();
  dead_bytes_ = 0;
}

// V8 collects by what it knows of; without this it would see a few bytes per tensor.
void Session::account(int64_t bytes) {
  unreported_ += bytes;
  if (unreported_ < kReport && unreported_ > -kReport) return;
  int64_t total;
  napi_adjust_external_memory(env_, std::exchange(unreported_, 0), &total);
}

// --- programs ------------------------------------------------------------------------------------------------------

int32_t Session::compile(const ProgramSpec& spec) {
  auto program = std::make_unique<Program>(spec);
  const int32_t handle = programs_.add(program.get());
  program->id = handle;
  program.release();
  return handle;
}

void Session::destroy(int32_t handle) {
  Program* program = programs_.remove(handle);
  if (device_->idle())
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
  for (size_t i = 0; i < inputs; ++i) {
    Buffer& buffer = buffers_.at(handles[i]);
    if (buffer.bytes != program.input_bytes(i) && program.input_bytes(i) != SIZE_MAX)
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
  submit(task, operands_);
}

void Session::submit(Task task, const std::vector<Buffer*>& operands) {
  task.client = this;
  device_->submit(task, dead_, operands);
  dead_.clear();
  dead_bytes_ = 0;
}

// Blocks until everything submitted so far is done.
void Session::wait_for_device() {
  sync_done_ = false;
  Task task;
  task.token = kSyncToken;
  submit(task);
  std::unique_lock lock(done_mutex_);
  synced_.wait(lock, [this] { return sync_done_; });
}

// --- reading -------------------------------------------------------------------------------------------------------

napi_value Session::promise(Task task, napi_value array) {
  Pending pending{};
  napi_value promise;
  napi_create_promise(env_, &pending.deferred, &promise);
  if (array) napi_create_reference(env_, array, 1, &pending.array);  // the memory must outlive the copy
  if (pending_.empty()) napi_ref_threadsafe_function(env_, wake_);
  task.token = next_token_++;
  pending_.emplace(task.token, pending);
  submit(task);
  return promise;
}

napi_value Session::read(int32_t handle, napi_value array, void* to, size_t bytes) {
  Buffer& buffer = buffers_.at(handle);
  if (bytes != buffer.bytes)
    throw Error("shape", "read: the tensor has " + std::to_string(buffer.bytes) + " bytes, the array " +
                             std::to_string(bytes) + ".");
  Task task;
  task.kind = Task::Kind::read;
  task.buffer = &buffer;
  task.target = to;
  return promise(task, array);
}

napi_value Session::wait() { return promise({}, nullptr); }

void Session::read_sync(int32_t handle, void* to, size_t bytes) {
  Buffer& buffer = buffers_.at(handle);
  if (bytes != buffer.bytes)
    throw Error("shape", "read: the tensor has " + std::to_string(buffer.bytes) + " bytes, the array " +
                             std::to_string(bytes) + ".");
  if (!device_->idle()) wait_for_device();
  if (buffer.failure) throw Error(buffer.failure->code, buffer.failure->message);
  if (bytes) std::memcpy(to, buffer.data, bytes);
}

// On the device thread.
void Session::finished(uint64_t token, std::shared_ptr<const Failure> failure) {
  if (token == kSyncToken) {
    std::lock_guard lock(done_mutex_);
    sync_done_ = true;
    synced_.notify_one();
    return;
  }
  bool first;
  {
    std::lock_guard lock(done_mutex_);
    first = done_.empty();
    done_.push_back({token, std::move(failure)});
  }
  if (first) napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Session::settle() {
  std::vector<Done> done;
  {
    std::lock_guard lock(done_mutex_);
    std::swap(done, done_);
  }
  for (Done& d : done) {
    const auto found = pending_.find(d.token);
    if (found == pending_.end()) continue;
    const Pending pending = found->second;
    pending_.erase(found);
    if (pending.array) napi_delete_reference(env_, pending.array);
    napi_value undefined;
    napi_get_undefined(env_, &undefined);
    if (d.failure)
      napi_reject_deferred(env_, pending.deferred, make_error(env_, d.failure->code, d.failure->message));
    else
      napi_resolve_deferred(env_, pending.deferred, undefined);
  }
  if (pending_.empty()) napi_unref_threadsafe_function(env_, wake_);
}

}  // namespace te
