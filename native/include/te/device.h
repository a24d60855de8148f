// What a device implements. Programs, queues and sessions are the same for all devices and know no more of them.
//
// A device has one stream: what is enqueued is done in that order. It may be done before the call returns, as on a CPU,
// or later, as on a GPU. Memory goes back to its pool as soon as its last use is enqueued: whoever takes it next
// enqueues behind that. Calls come from the queue's thread unless "any thread" is said. Errors are te::Error.
#pragma once
#include <functional>
#include <memory>
#include <string>

#include "te/buffer.h"
#include "te/kernel.h"
#include "te/pool.h"
#include "te/side_thread.h"

namespace te {

// Told once, on any thread, that what it came with is done, or why it cannot be (null: it is done).
using Done = std::function<void(FailurePtr)>;

// Work that was recorded; replay() enqueues it again, over the same memory.
class Recording {
 public:
  virtual ~Recording() = default;
  virtual void replay() = 0;
};

class Device {
 public:
  // `memory`: that of tensors and workspaces. `host`: that in which fetched tensors arrive, which JavaScript then owns;
  // the same where kernels run in it, pinned memory where that copies faster. Both outlive the device.
  Device(std::string name, Pool& memory, Pool& host) : name(std::move(name)), memory(memory), host(host) {}
  virtual ~Device() = default;
  const std::string name;
  Pool& memory;
  Pool& host;

  // The first call of the queue's thread.
  virtual void start_thread() {}

  // --- copies; no range is empty
  // From the host. `from` may be changed when it returns. Any thread.
  virtual void upload(void* to, const void* from, size_t bytes) = 0;
  virtual void copy(void* to, const void* from, size_t bytes) = 0;
  // To the host. Any thread.
  virtual void download(void* to, const void* from, size_t bytes, Done done) = 0;

  // --- the stream
  // Tells `done` behind everything enqueued so far.
  virtual void fence(Done done) = 0;
  // Returns when everything enqueued so far is done and everyone was told. Any thread.
  virtual void finish() = 0;
  // Enqueues what `body` does and waits for it. Gives the nanoseconds that it took on the device.
  virtual int64_t time(const std::function<void()>& body);

  // --- programs
  // A kernel for the node, or nullptr after setting *why. Any thread. `width`: that of begin_run, see below.
  virtual std::unique_ptr<Kernel> prepare(const Node& node, int width, std::string* why) = 0;
  // How much of the device kernels may plan for now, such as threads of a team. The kernels of one program are prepared
  // for one width, and run at that. Any thread.
  virtual int width() const { return 1; }
  // Before the kernels of a run. Kernels throw what they know at once; a device that learns later which values were
  // wrong gives an outcome at the end, of all runs or of those with a kernel that `checks` values.
  virtual void begin_run(int width, bool checks) {}
  // Before a run writes over its donated inputs, where a kernel before has checked values: throws what its kernels have
  // failed with so far, if need be after waiting for them, so that a refused value leaves those inputs as they were.
  virtual void settle() {}
  virtual std::shared_ptr<const Outcome> end_run(bool checks) { return nullptr; }

  // --- aside: exchanges with other processes, beside kernels that need not wait for them
  // Runs a task behind everything enqueued so far, and behind the tasks before it. What is enqueued next does not wait
  // for it. Gives the number of the task.
  virtual uint64_t start_aside(const SideThread::Task& task);
  // What is enqueued from now on comes behind the task of that number. Throws the first error of the tasks so far.
  virtual void join_aside(uint64_t number);
  // After a run, however it ended: what comes next comes behind all tasks, and their errors are forgotten.
  virtual void end_aside() noexcept;

  // --- recordings: for devices to which a kernel costs more than its launch, such as graphs of CUDA
  virtual bool records() const { return false; }
  // Records what `body` enqueues from this thread instead of doing it; others enqueue meanwhile. nullptr: it cannot be.
  virtual std::unique_ptr<Recording> record(const std::function<void()>& body) { return nullptr; }
};

// Waits for a download, on any thread. Gives why it failed, or null.
FailurePtr download_now(Device& device, void* to, const void* from, size_t bytes);

}  // namespace te
