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
  for (Program* program : programs_.remove_all()) ended_.emplace_back(program);
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
    task.kind = Task::Kind::wait;
    submit(std::move(task));
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
  ended_.emplace_back(programs_.remove(handle));
  if (device_->idle()) ended_.clear();
}

void Session::run(int32_t handle, const int32_t* inputs, size_t input_count, int32_t* outputs, size_t output_count) {
  Program& program = programs_.at(handle);
  if (input_count != program.input_count() || output_count != program.output_count())
    throw Error("state", "run: the program has " + std::to_string(program.input_count()) + " inputs and " +
                             std::to_string(program.output_count()) + " outputs, got " + std::to_string(input_count) +
                             " and " + std::to_string(output_count) + ".");
  Task task;
  task.kind = Task::Kind::run;
  task.client = this;
  task.program = &program;
  task.buffers.reset(new Buffer*[input_count + output_count]);
  for (size_t i = 0; i < input_count; ++i) {
    Buffer& buffer = buffers_.at(inputs[i]);
    if (buffer.bytes != program.input_bytes(i) && program.input_bytes(i) != SIZE_MAX)
      throw Error("shape", "run: input " + std::to_string(i) + " has " + std::to_string(buffer.bytes) +
                               " bytes, the program was compiled for " + std::to_string(program.input_bytes(i)) + ".");
    task.buffers[i] = &buffer;
  }
  for (size_t j = 0; j < output_count; ++j) {
    Buffer* buffer = new_buffer(program.output_bytes(j));
    task.buffers[input_count + j] = buffer;
    const int alias = program.alias(j);
    outputs[j] = add(buffer, alias < 0 ? nullptr : task.buffers[static_cast<size_t>(alias)]);
  }
  submit(std::move(task));
}

void Session::submit(Task task) {
  if (!dead_.empty()) task.dead = std::move(dead_);
  dead_.clear();
  dead_bytes_ = 0;
  if (!ended_.empty()) task.ended = std::move(ended_);
  ended_.clear();
  device_->submit(std::move(task));
}

// Blocks until everything submitted so far is done.
void Session::wait_for_device() {
  sync_done_ = false;
  Task task;
  task.client = this;
  task.token = kSyncToken;
  submit(std::move(task));
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
  task.client = this;
  task.token = next_token_++;
  pending_.emplace(task.token, pending);
  submit(std::move(task));
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
  return promise(std::move(task), array);
}

napi_value Session::wait() {
  Task task;
  return promise(std::move(task), nullptr);
}

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
