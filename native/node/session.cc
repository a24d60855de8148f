#include "node/session.h"

#include <algorithm>
#include <cstring>
#include <ctime>
#include <utility>

#include "te/copy.h"

namespace te {

namespace {
constexpr size_t kDeadBytes = size_t{16} << 20;   // released memory that may wait for the next submission
constexpr uint64_t kSyncToken = 0;                // of the task that wait_for_device submits
constexpr size_t kPerBuffer = 512;                // what a buffer costs besides its contents, and a node of a program
constexpr size_t kUploadBytes = size_t{1} << 18;  // smaller arrays are copied at once
constexpr int64_t kBeyond = int64_t{1} << 44;     // more memory than any limit of V8 allows

double thread_ms() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) * 1e-6;
}

}  // namespace

Session::Session(napi_env env) : env_(env), device_(Device::acquire()) {
  const auto call_js = [](napi_env e, napi_value, void* context, void*) {
    if (e) static_cast<Session*>(context)->settle();
  };
  ask(napi_create_threadsafe_function(env, nullptr, nullptr, js_text(env, "te-cpu"), 0, 1, nullptr, nullptr, this,
                                      call_js, &wake_));
  napi_unref_threadsafe_function(env, wake_);  // only a pending promise keeps the process alive
}

Session::~Session() = default;

void Session::close() {
  if (!device_) return;
  cancelled = true;
  device_->drop(this);
  for (Buffer* buffer : dead_) free_buffer(buffer);
  for (Buffer* buffer : buffers_.remove_all()) {
    if (buffer->reference) napi_delete_reference(env_, static_cast<napi_ref>(buffer->reference));
    free_buffer(buffer);
  }
  for (Program* program : programs_.remove_all()) {
    if (program->reference) napi_delete_reference(env_, static_cast<napi_ref>(program->reference));
    delete program;
  }
  napi_release_threadsafe_function(wake_, napi_tsfn_abort);
  for (const Done& done : done_)
    if (done.memory) Pool::get().give(done.memory, pending_.at(done.token).bytes);
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
  buffer->handle = handle;
  buffer->counted = buffer->bytes;
  const size_t before = takes_over ? std::exchange(takes_over->counted, 0) : 0;
  live_ += buffer->counted - before;
  peak_ = std::max(peak_, live_);
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
  copy_bytes(buffers_.at(handle).data, from, bytes);
  return handle;
}

int32_t Session::upload(napi_value array, const void* from, size_t bytes) {
  forget_sources();
  if (bytes < kUploadBytes) return from_bytes(from, bytes);
  check_memory(bytes, 0);
  Task task;
  task.kind = Task::Kind::upload;
  task.memory = const_cast<void*>(from);
  task.buffer = new_buffer(bytes);
  napi_ref source;
  ask(napi_create_reference(env_, array, 1, &source));
  task.source = source;
  const int32_t handle = add(task.buffer);
  submit(task);
  return handle;
}

// On the device thread.
void Session::uploaded(void* source) {
  {
    std::lock_guard lock(done_mutex_);
    sources_.push_back(static_cast<napi_ref>(source));
  }
  napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Session::forget_sources() {
  std::lock_guard lock(done_mutex_);
  for (napi_ref source : sources_) napi_delete_reference(env_, source);
  sources_.clear();
}

void Session::release(int32_t handle) {
  Buffer* buffer = buffers_.remove(handle);
  if (buffer->reference) napi_delete_reference(env_, static_cast<napi_ref>(buffer->reference));
  live_ -= buffer->counted;
  dead_.push_back(buffer);
  dead_bytes_ += buffer->bytes;
  free_dead_if_idle();
  if (dead_bytes_ > kDeadBytes) {
    Task task;
    task.kind = Task::Kind::free;
    submit(task);
  }
}

void Session::release_donated(int32_t handle) {
  if (buffers_.find(handle)) release(handle);
}

bool Session::reclaim(int32_t handle) {
  Buffer* buffer = buffers_.find(handle);
  if (!buffer) return false;
  if (!device_->idle()) wait_for_device();
  if (buffer->failure == taken_over()) return false;
  buffer->donated = 0;
  if (buffer->data && buffer->counted == 0) {
    buffer->counted = buffer->bytes;
    live_ += buffer->bytes;
    peak_ = std::max(peak_, live_);
  }
  return true;
}

// The memory is the run's from here on.
void Session::stop_counting(Buffer& buffer) { live_ -= std::exchange(buffer.counted, 0); }

// To be called behind the submission of a task that touches the buffer.
void Session::touch_donated(Buffer& buffer, int32_t handle) {
  buffer.donated = device_->submitted();
  donations_.push_back({buffer.donated, handle});
}

// Forgets donated tensors whose runs are done and took their memory.
void Session::drop_taken() {
  const uint64_t done = device_->done();
  while (!donations_.empty() && donations_.front().task <= done) {
    const Donation& donation = donations_.front();
    Buffer* buffer = buffers_.find(donation.handle);
    if (buffer && buffer->donated == donation.task && buffer->failure == taken_over()) {
      buffers_.remove(donation.handle);
      if (buffer->reference) napi_delete_reference(env_, static_cast<napi_ref>(buffer->reference));
      free_buffer(buffer);
    }
    donations_.pop_front();
  }
}

// Much memory is left to the device thread: giving it back to the system takes long.
void Session::free_dead_if_idle() {
  if (dead_bytes_ > kDeadBytes || !device_->idle()) return;
  for (Buffer* buffer : dead_) free_buffer(buffer);
  dead_.clear();
  dead_bytes_ = 0;
}

// --- garbage -------------------------------------------------------------------------------------------------------

size_t Session::held() const { return live_ + program_bytes_ + buffers_.size() * kPerBuffer; }

bool Session::own(int32_t handle, napi_value object) {
  Buffer& buffer = buffers_.at(handle);
  if (buffer.reference) throw Error("state", "own: the tensor has an owner.");
  const auto finalize = [](napi_env, void* data, void* session) noexcept {
    static_cast<Session*>(session)->release(static_cast<Buffer*>(data)->handle);
  };
  napi_ref reference;
  ask(napi_add_finalizer(env_, object, &buffer, finalize, this, &reference));
  buffer.reference = reference;
  return pressure_.due(held());
}

bool Session::own_program(int32_t handle, napi_value object) {
  Program& program = programs_.at(handle);
  if (program.reference) throw Error("state", "ownProgram: the program has an owner.");
  const auto finalize = [](napi_env, void* data, void* session) noexcept {
    static_cast<Session*>(session)->destroy(static_cast<Program*>(data)->id);
  };
  napi_ref reference;
  ask(napi_add_finalizer(env_, object, &program, finalize, this, &reference));
  program.reference = reference;
  return pressure_.due(held());
}

// A weak reference is empty as soon as V8 has collected its object.
bool Session::collected(void* reference) const {
  napi_value object = nullptr;
  return reference && napi_get_reference_value(env_, static_cast<napi_ref>(reference), &object) == napi_ok && !object;
}

void Session::release_collected() {
  const HandleScope scope(env_);
  buffers_.for_each([this](Buffer& buffer) {
    if (collected(buffer.reference)) release(buffer.handle);
  });
  programs_.for_each([this](Program& program) {
    if (collected(program.reference)) destroy(program.id);
  });
  forget_sources();
}

bool Session::sweep() {
  release_collected();
  return pressure_.relieved(held());
}

void Session::collect() {
  if (!pressure_.all_due(held())) return pressure_.rebase(held());
  const double start = thread_ms();
  // V8 collects when it is told of more memory than it may have.
  int64_t total;
  napi_adjust_external_memory(env_, kBeyond, &total);
  napi_adjust_external_memory(env_, -kBeyond, &total);
  release_collected();
  pressure_.looked_at_all(held(), thread_ms() - start);
}

// --- programs ------------------------------------------------------------------------------------------------------

int32_t Session::compile(const ProgramSpec& spec) {
  auto program = std::make_unique<Program>(spec);
  const int32_t handle = programs_.add(program.get());
  program->id = handle;
  program_bytes_ += program.release()->node_count() * kPerBuffer;
  return handle;
}

void Session::destroy(int32_t handle) {
  Program* program = programs_.remove(handle);
  if (program->reference) napi_delete_reference(env_, static_cast<napi_ref>(program->reference));
  program_bytes_ -= program->node_count() * kPerBuffer;
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
  drop_taken();
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
  for (const int i : program.donated()) stop_counting(*operands_[static_cast<size_t>(i)]);
  submit(task, operands_);
  for (const int i : program.donated()) operands_[static_cast<size_t>(i)]->donated = device_->submitted();
  for (size_t i = 0; i < inputs; ++i)
    if (operands_[i]->donated) touch_donated(*operands_[i], handles[i]);
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
  ask(napi_create_promise(env_, &pending.deferred, &promise));
  if (array) ask(napi_create_reference(env_, array, 1, &pending.array));  // the memory must outlive the copy
  if (pending_.empty()) napi_ref_threadsafe_function(env_, wake_);
  if (task.kind == Task::Kind::fetch) pending.bytes = task.buffer->bytes;
  task.token = next_token_++;
  pending_.emplace(task.token, pending);
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
  if (!device_->idle()) wait_for_device();
  if (buffer.failure) throw Error(buffer.failure->code, buffer.failure->message);
  if (bytes) std::memcpy(to, buffer.data, bytes);
}

// On the device thread.
void Session::finished(uint64_t token, std::shared_ptr<const Failure> failure, void* memory) {
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
    done_.push_back({token, std::move(failure), memory});
  }
  if (first) napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

// An array over the memory of a fetch, which goes back to the pool with it.
napi_value Session::result(const Pending& pending, Done& done) {
  napi_value value;
  if (!done.memory) {
    ask(napi_get_undefined(env_, &value));
    return value;
  }
  struct Block {
    void* data;
    size_t bytes;
    ~Block() { Pool::get().give(data, bytes); }
  };
  auto block = std::make_unique<Block>(std::exchange(done.memory, nullptr), pending.bytes);
  const auto finalize = [](napi_env, void*, void* hint) noexcept { delete static_cast<Block*>(hint); };
  const napi_status status =
      napi_create_external_arraybuffer(env_, block->data, block->bytes, finalize, block.get(), &value);
  if (status == napi_no_external_buffers_allowed) {
    void* to;
    ask(napi_create_arraybuffer(env_, block->bytes, &to, &value));
    std::memcpy(to, block->data, block->bytes);
    return value;
  }
  ask(status);
  block.release();
  return value;
}

// What is refused here belongs to an environment that ends.
void Session::settle(const Pending& pending, Done& done) noexcept {
  try {
    const HandleScope scope(env_);
    ask(done.failure
            ? napi_reject_deferred(env_, pending.deferred, js_error(env_, done.failure->code, done.failure->message))
            : napi_resolve_deferred(env_, pending.deferred, result(pending, done)));
  } catch (const Refused&) {
  }
}

void Session::settle() {
  std::vector<Done> done;
  {
    std::lock_guard lock(done_mutex_);
    std::swap(done, done_);
  }
  forget_sources();
  for (Done& d : done) {
    const auto found = pending_.find(d.token);
    if (found == pending_.end()) continue;
    const Pending pending = found->second;
    pending_.erase(found);
    if (pending.array) napi_delete_reference(env_, pending.array);
    settle(pending, d);
  }
  if (pending_.empty()) napi_unref_threadsafe_function(env_, wake_);
}

}  // namespace te
