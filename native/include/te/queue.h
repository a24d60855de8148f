// The queue of a device: one thread that takes programs, copies and frees of all clients, and enqueues them on the
// device in order. Whoever submits never waits for the work, so that JavaScript's event loop runs on. Only a queue of
// kQueueLimit makes it wait, and then no longer than for the next few runs.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "te/device.h"
#include "te/program.h"

namespace te {

// Someone who submits work: one Node.js environment.
class Client {
 public:
  virtual ~Client() = default;
  // Called on any thread when a read, a fetch or a wait is done; `failure` is why the buffer has no contents, or null.
  // `memory`: what a fetch took from the pool of the host, for the client to give back.
  virtual void finished(uint64_t token, FailurePtr failure, void* memory) = 0;
  // Called on the queue's thread when the memory of an upload is no longer needed.
  virtual void uploaded(void* source) = 0;

  std::atomic<bool> cancelled{false};  // its runs and reads are skipped from now on
  std::atomic<bool> profiling{false};
  std::mutex profile_mutex;
  std::vector<ProfileRecord> profile;
};

struct Task {
  // free: nothing but what every task does first, which is to free the buffers that were released before it.
  enum class Kind { free, run, upload, read, fetch, wait, end, stop } kind = Kind::wait;
  Client* client = nullptr;
  Program* program = nullptr;  // run; end: deletes it
  Buffer* buffer = nullptr;    // upload, read, fetch
  void* memory = nullptr;      // the other side of an upload or a read
  void* source = nullptr;      // upload: what keeps `memory`, for the client
  uint64_t token = 0;
};

class Queue {
 public:
  // The one queue of the device in this process; its thread ends when the last holder lets go. The device stays.
  static std::shared_ptr<Queue> acquire(Device& device);
  explicit Queue(Device& device);
  ~Queue();
  // For the end of the process: the threads of all queues are past their kernel and start no other, so that none runs
  // while the libraries that it uses are taken down.
  static void halt_all();

  Device& device() { return device_; }
  // `dead`: buffers that no later task uses. `operands`: the inputs of a run, then its outputs.
  void submit(const Task& task, const std::vector<Buffer*>& dead = {}, const std::vector<Buffer*>& operands = {});
  // How many tasks were submitted, and how many of them are enqueued on the device.
  uint64_t submitted() const { return submitted_.load(std::memory_order_relaxed); }
  uint64_t done() const { return done_.load(std::memory_order_acquire); }
  // True when that is all, so that the caller may enqueue and give memory back itself.
  bool idle() const { return done() == submitted(); }
  // Forgets what this client has queued and waits for what has begun. Others' work goes on.
  void drop(Client* client);

  size_t arena_bytes() const { return arena_bytes_.load(std::memory_order_relaxed); }
  size_t arena_peak() const { return arena_peak_.load(std::memory_order_relaxed); }
  void reset_peak() { arena_peak_ = arena_bytes_.load(); }
  int64_t busy_ns() const { return busy_ns_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kQueueLimit = size_t{1} << 21;  // tasks and their buffers; about 200 MB at most
  static constexpr size_t kChunk = 64;                    // tasks that are taken at once when they are short
  struct Batch {
    struct Item {
      Task task;
      size_t first, dead;  // buffers[first ...]: as many that are dead, then the operands
    };
    std::vector<Item> items;
    std::vector<Buffer*> buffers;
    size_t weight() const { return items.size() + buffers.size(); }
  };
  void halt();
  void loop();
  void wait_for_work();
  void take_chunk(size_t limit);
  void finish_chunk();
  void wait_for_chunk(std::unique_lock<std::mutex>& lock);
  void perform(const Task& task, Buffer* const* operands);
  void run(const Task& task, Buffer* const* operands);
  void upload(const Task& task);
  void read(const Task& task);
  void fetch(const Task& task);
  void finish_device();
  char* workspace(size_t bytes);

  std::mutex mutex_;
  std::condition_variable work_, passed_;
  Device& device_;
  Batch queue_;
  Batch batch_;                 // what the thread works off; it alone touches the chunk [begin_, end_)
  size_t begin_ = 0, end_ = 0;  // begin_ == end_: between two chunks
  uint64_t chunks_ = 0;         // that were worked off
  int waiting_ = 0;             // threads that wait for a chunk
  std::atomic<uint64_t> submitted_{0};
  bool sleeping_ = false;

  // Written by the thread, on another cache line.
  alignas(64) std::atomic<uint64_t> done_{0};
  bool stopped_ = false;
  bool halted_ = false;  // the process ends

  char* arena_ = nullptr;
  std::atomic<size_t> arena_bytes_{0}, arena_peak_{0};
  std::atomic<int64_t> busy_ns_{0};
  std::thread thread_;
};

}  // namespace te
