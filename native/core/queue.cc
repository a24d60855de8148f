// The thread of a queue, in chunks of tasks; and the workspace that the programs of a device share.
#include "te/queue.h"

#include <pthread.h>

#include <chrono>
#include <map>
#include <utility>

#include "te/relax.h"
#include "te/sanitize.h"
#include "te/status.h"

namespace te {
namespace {

using Clock = std::chrono::steady_clock;
constexpr auto kSpin = std::chrono::microseconds(30);    // about what waking a sleeping thread costs
constexpr auto kShort = std::chrono::microseconds(200);  // chunks that take longer hold one task
constexpr size_t kKept = size_t{1} << 16;                // tasks that a queue keeps memory for

struct Queues {
  std::mutex mutex;
  std::map<Device*, std::weak_ptr<Queue>> list;
};

Queues& queues() {
  static auto* all = new Queues;  // outlives every static
  return *all;
}
}  // namespace

std::shared_ptr<Queue> Queue::acquire(Device& device) {
  std::lock_guard lock(queues().mutex);
  std::weak_ptr<Queue>& known = queues().list[&device];
  std::shared_ptr<Queue> queue = known.lock();
  if (!queue) known = queue = std::make_shared<Queue>(device);
  return queue;
}

void Queue::halt_all() {
  std::vector<std::shared_ptr<Queue>> all;
  {
    std::lock_guard lock(queues().mutex);
    for (const auto& [device, known] : queues().list)
      if (auto queue = known.lock()) all.push_back(std::move(queue));
  }
  for (const auto& queue : all) queue->halt();
  new std::vector(std::move(all));  // their threads sleep in them until the process is gone
}

Queue::Queue(Device& device) : device_(device), thread_([this] { loop(); }) {}

Queue::~Queue() {
  Task stop;
  stop.kind = Task::Kind::stop;
  submit(stop);
  thread_.join();
  finish_device();
  if (arena_) device_.memory.give(arena_, arena_bytes_);
  device_.memory.trim();
  device_.host.trim();
}

void Queue::submit(const Task& task, const std::vector<Buffer*>& dead, const std::vector<Buffer*>& operands) {
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

void Queue::wait_for_chunk(std::unique_lock<std::mutex>& lock) {
  ++waiting_;
  passed_.wait(lock, [this, now = chunks_] { return chunks_ != now; });
  --waiting_;
}

void Queue::drop(Client* client) {
  std::unique_lock lock(mutex_);
  const auto forget = [client](Batch& batch, size_t from) {
    for (size_t i = from; i < batch.items.size(); ++i) {
      Task& task = batch.items[i].task;
      if (task.client != client) continue;
      task.client = nullptr;
      if (task.kind != Task::Kind::end) task.kind = Task::Kind::free;
    }
  };
  forget(batch_, end_);
  forget(queue_, 0);
  if (begin_ != end_) wait_for_chunk(lock);
  lock.unlock();
  finish_device();  // what was enqueued may still fill the client's arrays
}

// A device that is lost has nothing more to do; whoever reads is told.
void Queue::finish_device() {
  try {
    device_.finish();
  } catch (const Error&) {
  }
}

void Queue::halt() {
  if (std::this_thread::get_id() == thread_.get_id()) return;
  std::unique_lock lock(mutex_);
  halted_ = true;
  for (size_t i = begin_; i < end_; ++i)
    if (Client* client = batch_.items[i].task.client) client->cancelled = true;
  if (begin_ != end_) wait_for_chunk(lock);
}

// Returns when something is queued: spins for a moment, then sleeps.
void Queue::wait_for_work() {
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

void Queue::loop() {
#ifdef __linux__
  pthread_setname_np(pthread_self(), ("te-" + device_.name).c_str());
#endif
  device_.start_thread();
  size_t limit = 1;
  while (!stopped_) {
    wait_for_work();
    take_chunk(limit);
    const auto start = Clock::now();
    for (size_t i = begin_; i < end_; ++i) {
      const Batch::Item& item = batch_.items[i];
      Buffer* const* buffers = batch_.buffers.data() + item.first;
      for (size_t j = 0; j < item.dead; ++j) free_buffer(buffers[j], device_.memory);
      perform(item.task, buffers + item.dead);
    }
    const auto took = Clock::now() - start;
    busy_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(took).count();
    limit = took < kShort ? std::min(2 * limit, kChunk) : 1;
    finish_chunk();
  }
}

void Queue::take_chunk(size_t limit) {
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

void Queue::finish_chunk() {
  std::lock_guard lock(mutex_);
  done_.store(done_.load(std::memory_order_relaxed) + (end_ - begin_), std::memory_order_release);
  begin_ = end_;
  ++chunks_;
  if (waiting_ > 0) passed_.notify_all();
}

void Queue::perform(const Task& task, Buffer* const* operands) {
  const bool cancelled = task.client && task.client->cancelled.load();
  switch (task.kind) {
    case Task::Kind::free:
      break;
    case Task::Kind::run:
      if (!cancelled) run(task, operands);
      break;
    case Task::Kind::read:
      read(task);
      break;
    case Task::Kind::fetch:
      fetch(task);
      break;
    case Task::Kind::upload:
      if (!cancelled) upload(task);
      task.client->uploaded(task.source);
      break;
    case Task::Kind::wait:
      device_.fence(
          [client = task.client, token = task.token](FailurePtr) { client->finished(token, nullptr, nullptr); });
      break;
    case Task::Kind::end:
      delete task.program;
      break;
    case Task::Kind::stop:
      stopped_ = true;
      break;
  }
}

void Queue::upload(const Task& task) {
  Buffer& buffer = *task.buffer;
  try {
    buffer.data = device_.memory.take(buffer.bytes);
    device_.upload(buffer.data, task.memory, buffer.bytes);
  } catch (...) {
    buffer.failure = failure_of(std::current_exception());
  }
}

// Tells the client that a buffer's contents are at `memory`, when they are.
void Queue::read(const Task& task) {
  const Buffer& from = *task.buffer;
  if (task.client->cancelled || from.failure) return task.client->finished(task.token, from.failure, nullptr);
  void* fetched = task.kind == Task::Kind::fetch ? task.memory : nullptr;
  const auto tell = [client = task.client, token = task.token, fetched, outcomes = from.outcomes](FailurePtr failure) {
    client->finished(token, failure ? std::move(failure) : first_failure(outcomes), fetched);
  };
  if (from.bytes == 0) return tell(nullptr);
  try {
    device_.download(task.memory, from.data, from.bytes, tell);
  } catch (...) {
    task.client->finished(task.token, failure_of(std::current_exception()), fetched);
  }
}

void Queue::fetch(const Task& task) {
  const Buffer& from = *task.buffer;
  if (task.client->cancelled || from.failure) return task.client->finished(task.token, from.failure, nullptr);
  Task reading = task;
  try {
    reading.memory = device_.host.take(from.bytes);
  } catch (...) {
    return task.client->finished(task.token, failure_of(std::current_exception()), nullptr);
  }
  read(reading);
}

void Queue::run(const Task& task, Buffer* const* inputs) {
  Program& program = *task.program;
  Buffer* const* outputs = inputs + program.input_count();
  char* memory = nullptr;
  try {
    memory = workspace(program.workspace_bytes());
  } catch (...) {
    const FailurePtr failure = failure_of(std::current_exception());
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
char* Queue::workspace(size_t bytes) {
  if (bytes <= arena_bytes_ && !kExactMemory) return arena_;
  if (arena_) device_.memory.give(std::exchange(arena_, nullptr), arena_bytes_.exchange(0));
  arena_ = static_cast<char*>(device_.memory.take(bytes));
  arena_bytes_ = bytes;
  arena_peak_ = std::max(arena_peak_.load(), bytes);
  return arena_;
}

}  // namespace te
