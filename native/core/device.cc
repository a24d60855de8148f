#include "te/device.h"

#include <pthread.h>

#include <chrono>
#include <cstring>
#include <utility>

#include "te/parallel.h"
#include "te/status.h"

namespace te {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(30);  // about what waking a sleeping thread costs

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

std::shared_ptr<Device> Device::acquire() {
  static std::mutex mutex;
  static std::weak_ptr<Device> current;
  std::lock_guard lock(mutex);
  std::shared_ptr<Device> device = current.lock();
  if (!device) current = device = std::make_shared<Device>();
  return device;
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
  if (queue_.items.size() >= kQueueLimit) room_.wait(lock, [this] { return queue_.items.size() < kQueueLimit; });
  const size_t first = queue_.buffers.size();
  queue_.buffers.insert(queue_.buffers.end(), dead.begin(), dead.end());
  queue_.buffers.insert(queue_.buffers.end(), operands.begin(), operands.end());
  queue_.items.push_back({task, first, dead.size()});
  submitted_.store(submitted_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  const bool wake = std::exchange(sleeping_, false);
  lock.unlock();
  if (wake) work_.notify_one();
}

// Returns when something is queued: spins for a moment, then sleeps.
void Device::wait_for_work() {
  const uint64_t done = done_.load(std::memory_order_relaxed);
  const auto deadline = Clock::now() + kSpin;
  for (int i = 0; submitted_.load(std::memory_order_acquire) == done; ++i) {
    if ((i & 63) == 63 && Clock::now() > deadline) {
      std::unique_lock lock(mutex_);
      if (queue_.items.empty()) {
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
  Queue batch;
  while (!stopped_) {
    wait_for_work();
    {
      std::lock_guard lock(mutex_);
      std::swap(batch, queue_);
    }
    room_.notify_all();
    const auto start = Clock::now();
    for (const Queue::Item& item : batch.items) {
      Buffer* const* buffers = batch.buffers.data() + item.first;
      for (size_t i = 0; i < item.dead; ++i) free_buffer(buffers[i]);
      perform(item.task, buffers + item.dead);
    }
    busy_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - start).count();
    done_.fetch_add(batch.items.size(), std::memory_order_release);
    batch.items.clear();
    batch.buffers.clear();
  }
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
      if (!cancelled && !task.buffer->failure) parallel_copy(task.target, task.buffer->data, task.buffer->bytes);
      task.client->finished(task.token, task.buffer->failure);
      break;
    case Task::Kind::wait:
      task.client->finished(task.token, nullptr);
      break;
    case Task::Kind::end:
      delete task.program;
      break;
    case Task::Kind::stop:
      stopped_ = true;
      break;
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
  if (bytes <= arena_bytes_) return arena_;
  if (arena_) Pool::get().give(std::exchange(arena_, nullptr), arena_bytes_.exchange(0));
  arena_ = static_cast<char*>(Pool::get().take(bytes));
  arena_bytes_ = bytes;
  arena_peak_ = std::max(arena_peak_.load(), bytes);
  return arena_;
}

}  // namespace te
