// A thread beside that of the device, for kernels that wait for other processes while the device computes.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "te/kernel.h"

namespace te {

class SideThread {
 public:
  struct Task {
    Kernel* kernel;
    Call call;
    int64_t *start_ns, *ns;  // where the time it took goes
  };

  // The one of this process; it starts at the first call and is never joined.
  static SideThread& shared();

  // Queues a task and returns its number; tasks run in order. The kernel and its operands stay until it is done.
  uint64_t start(const Task& task);
  // Returns when the task of that number, and so all before it, are done. Throws the first error since `settle`.
  void wait(uint64_t number);
  // Waits for all tasks, and forgets errors.
  void settle() noexcept;

 private:
  void loop();
  void wait_locked(std::unique_lock<std::mutex>& lock, uint64_t number);

  std::mutex mutex_;
  std::condition_variable work_, done_;
  std::vector<Task> tasks_;
  size_t next_ = 0;                      // of tasks_, the first that is not done
  uint64_t started_ = 0, finished_ = 0;  // counts
  std::exception_ptr failure_;
};

}  // namespace te
