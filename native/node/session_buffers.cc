// The buffers of a session: made, filled, donated, released.
#include <algorithm>
#include <utility>

#include "node/session.h"

namespace te {

namespace {
constexpr size_t kDeadBytes = size_t{16} << 20;   // released memory that may wait for the next submission
constexpr size_t kUploadBytes = size_t{1} << 18;  // smaller arrays are copied at once
}  // namespace

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
  void* data = device_.memory.take(bytes);
  Buffer* buffer = new_buffer(bytes);
  buffer->data = data;
  return add(buffer);
}

int32_t Session::from_bytes(const void* from, size_t bytes) {
  const int32_t handle = create(bytes);
  if (bytes) device_.upload(buffers_.at(handle).data, from, bytes);
  return handle;
}

int32_t Session::upload(napi_value array, const void* from, size_t bytes) {
  reads_.forget_sources();
  if (bytes < kUploadBytes) return from_bytes(from, bytes);
  device_.memory.expect_room(bytes);
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
  if (!queue_->idle()) wait_for_queue();
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
  buffer.donated = queue_->submitted();
  donations_.push_back({buffer.donated, handle});
}

// Forgets donated tensors whose runs are done and took their memory.
void Session::drop_taken() {
  const uint64_t done = queue_->done();
  while (!donations_.empty() && donations_.front().task <= done) {
    const Donation& donation = donations_.front();
    Buffer* buffer = buffers_.find(donation.handle);
    if (buffer && buffer->donated == donation.task && buffer->failure == taken_over()) {
      buffers_.remove(donation.handle);
      if (buffer->reference) napi_delete_reference(env_, static_cast<napi_ref>(buffer->reference));
      free_buffer(buffer, device_.memory);
    }
    donations_.pop_front();
  }
}

// Much memory is left to the device thread: giving it back to the system takes long.
void Session::free_dead_if_idle() {
  if (dead_bytes_ > kDeadBytes || !queue_->idle()) return;
  for (Buffer* buffer : dead_) free_buffer(buffer, device_.memory);
  dead_.clear();
  dead_bytes_ = 0;
}

}  // namespace te
