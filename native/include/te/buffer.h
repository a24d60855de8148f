// Memory of tensors: 64-byte aligned blocks from a pool that keeps what is given back, because fresh pages cost more
// than most kernels.
#pragma once
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace te {

// Why a buffer has no contents: the code and message of the kernel that should have made them.
struct Failure {
  std::string code, message;
};

// The failure of a buffer whose memory a run took over.
const std::shared_ptr<const Failure>& taken_over();

// One tensor's memory. Only the device thread touches the fields after the buffer was handed to it, but for those that
// are its owner's.
struct Buffer {
  void* data = nullptr;  // nullptr until a run fills it, and after a run that it was donated to
  size_t bytes = 0;
  std::shared_ptr<const Failure> failure;
  uint64_t stamp = 0;  // the run that last counted its uses, and their number
  int uses = 0;
  // Its owner's: the bytes it stands for among those held (0 once a run was given them to write over), the last task
  // that touches it since then (0 before), its handle, and the weak reference to the object that holds that handle.
  size_t counted = 0;
  uint64_t donated = 0;
  int32_t handle = 0;
  void* reference = nullptr;
};

class Pool {
 public:
  static Pool& get();

  // Throws te::Error "memory" when the machine has not that much.
  void* take(size_t bytes);
  void give(void* data, size_t bytes);
  // Returns all cached blocks to the system.
  void trim();

  struct Stats {
    size_t used = 0, peak = 0, cached = 0;
  };
  Stats stats();
  void reset_peak();

 private:
  void trim_locked();
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;  // by size class
  Stats stats_;
};

// "12.3 GB"
std::string format_bytes(double bytes);
// Bytes that the machine, or this process's control group, has in all.
size_t machine_memory();
// Throws te::Error "memory" when `bytes` more than `used` cannot fit.
void check_memory(size_t bytes, size_t used);

}  // namespace te
