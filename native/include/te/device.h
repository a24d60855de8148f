// The CPU as a device: one thread that takes programs, reads and frees from a queue, in order. Whoever submits never
// waits for the work (only for room in the queue), so that JavaScript's event loop runs on.
#pragma once
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "te/buffer.h"
#include "te/program.h"

namespace te {

// Someone who submits work: one Node.js environment.
class Client {
 public:
  virtual ~Client() = default;
  // Called on the device thread when a read or a wait is done; `failure` is why the buffer has no contents, or null.
  virtual void finished(uint64_t token, std::shared_ptr<const Failure> failure) = 0;

  std::atomic<bool> cancelled{false};  // its runs and reads are skipped from now on
  std::atomic<bool> profiling{false};
  std::mutex profile_mutex;
  std::vector<ProfileRecord> profile;
};

struct Task {
  // free: nothing but what every task does first, which is to free the buffers that were released before it.
  enum class Kind { free, run, read, wait, end, stop } kind = Kind::wait;
  Client* client = nullptr;
  Program* program = nullptr;  // run; end: deletes it
  Buffer* buffer = nullptr;    // read
  void* target = nullptr;
  uint64_t token = 0;
};

class Device {
 public:
  // The one device of the process; the thread ends when the last holder lets go.
  static std::shared_ptr<Device> acquire();
  Device();
  ~Device();

  // `dead`: buffers that no later task uses. `operands`: the inputs of a run, then its outputs.
  void submit(const Task& task, const std::vector<Buffer*>& dead = {}, const std::vector<Buffer*>& operands = {});
  // True when all that was submitted is done, so that the caller may free memory itself.
  bool idle() const { return done_.load(std::memory_order_acquire) == submitted_.load(std::memory_order_relaxed); }

  size_t arena_bytes() const { return arena_bytes_.load(std::memory_order_relaxed); }
  size_t arena_peak() const { return arena_peak_.load(std::memory_order_relaxed); }
  void reset_peak() { arena_peak_ = arena_bytes_.load(); }
  int64_t busy_ns() const { return busy_ns_.load(std::memory_order_relaxed); }

 private:
  static constexpr size_t kQueueLimit = 4096;
  struct Queue {
    struct Item {
      Task task;
      size_t first, dead;  // buffers[first ...]: as many that are dead, then the operands
    };
    std::vector<Item> items;
    std::vector<Buffer*> buffers;
  };
  void loop();
  void wait_for_work();
  void perform(const Task& task, Buffer* const* operands);
  void run(const Task& task, Buffer* const* operands);
  char* workspace(size_t bytes);

  std::mutex mutex_;
  std::condition_variable work_, room_;
  Queue queue_;
  std::atomic<uint64_t> submitted_{0};
  bool sleeping_ = false;

  // Written by the device thread, on another cache line.
  alignas(64) std::atomic<uint64_t> done_{0};
  bool stopped_ = false;

  char* arena_ = nullptr;
  std::atomic<size_t> arena_bytes_{0}, arena_peak_{0};
  std::atomic<int64_t> busy_ns_{0};
  std::thread thread_;
};

void free_buffer(Buffer* buffer);

}  // namespace te
