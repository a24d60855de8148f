// The CPU as a device: what is enqueued is done before the call returns, by the team of the queue's thread.
//
// te: once
#include "cpu/device.h"

#include <cstring>

#include "te/copy.h"
#include "te/host_memory.h"
#include "te/parallel.h"

namespace te {
namespace {

thread_local bool has_team = false;  // other threads must not start a team of their own: it would stay

void team_copy(void* to, const void* from, size_t bytes) {
  parallel_for(static_cast<int64_t>(bytes), 1 << 20, [&](int64_t begin, int64_t end) {
    std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
                static_cast<size_t>(end - begin));
  });
}

class Cpu : public Device {
 public:
  Cpu() : Device("cpu", host_pool(), host_pool()) {}

  void start_thread() override { has_team = true; }

  void upload(void* to, const void* from, size_t bytes) override {
    has_team ? team_copy(to, from, bytes) : copy_bytes(to, from, bytes);
  }
  void copy(void* to, const void* from, size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, size_t bytes, Done done) override {
    has_team ? team_copy(to, from, bytes) : copy(to, from, bytes);
    done(nullptr);
  }

  void fence(Done done) override { done(nullptr); }
  void finish() override {}

  std::unique_ptr<Kernel> prepare(const Node& node, int width, std::string* why) override {
    use_threads(width);
    return prepare_kernel(node, why);
  }
  int width() const override { return wanted_threads(); }
  void begin_run(int width, bool) override { use_threads(width); }
};

}  // namespace

Device& cpu_device() {
  static auto* device = new Cpu;
  return *device;
}

}  // namespace te
