#include "te/device.h"

#include <pthread.h>

#include <chrono>
#include <cstring>
#include <utility>

#include "te/parallel.h"
#include "te/sanitize.h"
#include "te/status.h"

namespace te {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(30);    // about what waking a sleeping thread costs
constexpr auto kShort = std::chrono::microseconds(200);  // chunks that take longer hold one task
constexpr size_t kKept = size_t{1} << 16;                // tasks that a queue keeps memory for

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

void parallel_copy(void* to, const void* from, size_t bytes) {
  parallel_for(static_cast<int64_t>(bytes), 1 << 20, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
                static_cast<size_t>(end - begin));
  });
}

}  // namespace

void free_buffer(Buffer* buffer) {
  Pool::get().give(buffer->data, buffer->bytes);
  delete buffer;
}

namespace {
struct Current {
  std::mutex mutex;
  std::weak_ptr<Device> device;
};

Current& current() {
  static auto* current = new Current;  // outlives every static
  return *current;
}
}  // namespace

std::shared_ptr<Device> Device::acquire() {
  std::lock_guard lock(current().mutex);
  std::shared_ptr<Device> device = current().device.lock();
  if (!device) current().device = device = std::make_shared<Device>();
  return device;
}

void Device::halt_current() {
  std::shared_ptr<Device> device = current().device.lock();
  if (!device) return;
  device->halt();
  new std::shared_ptr<Device>(std::move(device));  // its thread sleeps in it until the process is gone
}

Device::Device() : thread_([this] { loop(); }) {}

Device::~Device() {
  Task stop;
  stop.kind = Task::Kind::stop;
  submit(stop);
  thread_.join();
  if (arena_) Pool::get().give(arena_, arena_bytes_);
  Pool::get().trim();
}

void Device::submit(const Task& task, const std::vector<Buffer*>& dead, const std::vector<Buffer*>& operands) {
  std::unique_lock lock(mutex_);
  while (queue_.weight() >= kQueueLimit) wait_for_chunk(lock);
  const size_t first = queue_.buffers.size();
  queue_.buffers.insert(queue_.buffers.end(), dead.begin(), dead.end());
  queue_.buffers.insert(queue_.buffers.end(), operands.begin(), operands.end());
  queue_.items.push_back({task, first, dead.size()});
  submitted_.store(submitted_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  const bool wake = std::exchange(sleeping_, false);
  lock.unlock();
  if (wake) work_.notify_one();
}

void Device::wait_for_chunk(std::unique_lock<std::mutex>& lock) {
  ++waiting_;
  passed_.wait(lock, [this, now = chunks_] { return chunks_ != now; });
  --waiting_;
}

void Device::drop(Client* client) {
  std::unique_lock lock(mutex_);
  const auto forget = [client](Queue& queue, size_t from) {
    for (size_t i = from; i < queue.items.size(); ++i) {
      Task& task = queue.items[i].task;
      if (task.client != client) continue;
      task.client = nullptr;
      if (task.kind != Task::Kind::end) task.kind = Task::Kind::free;
    }
  };
  forget(batch_, end_);
  forget(queue_, 0);
  if (begin_ != end_) wait_for_chunk(lock);
}

void Device::halt() {
  if (std::this_thread::get_id() == thread_.get_id()) return;
  std::unique_lock lock(mutex_);
  halted_ = true;
  for (size_t i = begin_; i < end_; ++i)
    if (Client* client = batch_.items[i].task.client) client->cancelled = true;
  if (begin_ != end_) wait_for_chunk(lock);
}

// Returns when something is queued: spins for a moment, then sleeps.
void Device::wait_for_work() {
  const uint64_t done = done_.load(std::memory_order_relaxed);
  const auto deadline = Clock::now() + kSpin;
  for (int i = 0; submitted_.load(std::memory_order_acquire) == done; ++i) {
    if ((i & 63) == 63 && Clock::now() > deadline) {
      std::unique_lock lock(mutex_);
      if (submitted_.load(std::memory_order_relaxed) == done) {
        sleeping_ = true;
        work_.wait(lock, [this] { return !sleeping_; });
      }
      return;
    }
    relax();
  }
}

void Device::loop() {
#ifdef __linux__
  pthread_setname_np(pthread_self(), "te-cpu");
#endif
  size_t limit = 1;
  while (!stopped_) {
    wait_for_work();
    take_chunk(limit);
    const auto start = Clock::now();
    for (size_t i = begin_; i < end_; ++i) {
      const Queue::Item& item = batch_.items[i];
      Buffer* const* buffers = batch_.buffers.data() + item.first;
      for (size_t j = 0; j < item.dead; ++j) free_buffer(buffers[j]);
      perform(item.task, buffers + item.dead);
    }
    const auto took = Clock::now() - start;
    busy_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(took).count();
    limit = took < kShort ? std::min(2 * limit, kChunk) : 1;
    finish_chunk();
  }
}

void Device::take_chunk(size_t limit) {
  std::unique_lock lock(mutex_);
  passed_.wait(lock, [this] { return !halted_; });  // a process that ends needs no more
  if (end_ == batch_.items.size()) {
    batch_.items.clear();
    batch_.buffers.clear();
    if (batch_.items.capacity() > kKept) batch_ = {};
    std::swap(batch_, queue_);
    begin_ = end_ = 0;
  }
  end_ = std::min(batch_.items.size(), begin_ + limit);
}

void Device::finish_chunk() {
  std::lock_guard lock(mutex_);
  done_.store(done_.load(std::memory_order_relaxed) + (end_ - begin_), std::memory_order_release);
  begin_ = end_;
  ++chunks_;
  if (waiting_ > 0) passed_.notify_all();
}

void Device::perform(const Task& task, Buffer* const* operands) {
  const bool cancelled = task.client && task.client->cancelled.load();
  switch (task.kind) {
    case Task::Kind::free:
      break;
    case Task::Kind::run:
      if (!cancelled) run(task, operands);
      break;
    case Task::Kind::read:
      if (!cancelled && !task.buffer->failure) parallel_copy(task.memory, task.buffer->data, task.buffer->bytes);
      task.client->finished(task.token, task.buffer->failure, nullptr);
      break;
    case Task::Kind::fetch:
      fetch(task);
      break;
    case Task::Kind::upload:
      if (!cancelled) upload(task);
      task.client->uploaded(task.source);
      break;
    case Task::Kind::wait:
      task.client->finished(task.token, nullptr, nullptr);
      break;
    case Task::Kind::end:
      delete task.program;
      break;
    case Task::Kind::stop:
      stopped_ = true;
      break;
  }
}

void Device::upload(const Task& task) {
  Buffer& buffer = *task.buffer;
  try {
    buffer.data = Pool::get().take(buffer.bytes);
    parallel_copy(buffer.data, task.memory, buffer.bytes);
  } catch (const Error& error) {
    buffer.failure = std::make_shared<Failure>(Failure{error.code, error.what()});
  }
}

void Device::fetch(const Task& task) {
  const Buffer& from = *task.buffer;
  if (task.client->cancelled || from.failure) return task.client->finished(task.token, from.failure, nullptr);
  try {
    void* memory = Pool::get().take(from.bytes);
    parallel_copy(memory, from.data, from.bytes);
    task.client->finished(task.token, nullptr, memory);
  } catch (const Error& error) {
    task.client->finished(task.token, std::make_shared<Failure>(Failure{error.code, error.what()}), nullptr);
  }
}

void Device::run(const Task& task, Buffer* const* inputs) {
  Program& program = *task.program;
  Buffer* const* outputs = inputs + program.input_count();
  char* memory = nullptr;
  try {
    memory = workspace(program.workspace_bytes());
  } catch (const Error& error) {
    auto failure = std::make_shared<Failure>(Failure{error.code, error.what()});
    for (size_t j = 0; j < program.output_count(); ++j) outputs[j]->failure = failure;
    return;
  }
  if (!task.client->profiling.load(std::memory_order_relaxed)) {
    program.run(inputs, outputs, memory, task.client->cancelled, nullptr);
    return;
  }
  std::vector<ProfileRecord> records;
  program.run(inputs, outputs, memory, task.client->cancelled, &records);
  std::lock_guard lock(task.client->profile_mutex);
  auto& all = task.client->profile;
  all.insert(all.end(), std::make_move_iterator(records.begin()), std::make_move_iterator(records.end()));
}

// One block for the arenas of all programs, because they run one after another. It grows to the largest.
char* Device::workspace(size_t bytes) {
  if (bytes <= arena_bytes_ && !kExactMemory) return arena_;
  if (arena_) Pool::get().give(std::exchange(arena_, nullptr), arena_bytes_.exchange(0));
  arena_ = static_cast<char*>(Pool::get().take(bytes));
  arena_bytes_ = bytes;
  arena_peak_ = std::max(arena_peak_.load(), bytes);
  return arena_;
}

}  // namespace te
