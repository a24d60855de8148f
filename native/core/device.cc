// What devices have in common: a download that waits, times by the clock of the host, and a thread for exchanges.
#include "te/device.h"

#include <chrono>
#include <condition_variable>
#include <mutex>

namespace te {

int64_t Device::time(const std::function<void()>& body) {
  using std::chrono::steady_clock;
  const steady_clock::time_point start = steady_clock::now();
  body();
  finish();
  return std::chrono::duration_cast<std::chrono::nanoseconds>(steady_clock::now() - start).count();
}

uint64_t Device::start_aside(const SideThread::Task& task) { return SideThread::shared().start(task); }
void Device::join_aside(uint64_t number) { SideThread::shared().wait(number); }
void Device::end_aside() noexcept { SideThread::shared().settle(); }

FailurePtr download_now(Device& device, void* to, const void* from, size_t bytes) {
  struct {
    std::mutex mutex;
    std::condition_variable told;
    bool done = false;
    FailurePtr failure;
  } answer;
  device.download(to, from, bytes, [&answer](FailurePtr failure) {
    std::lock_guard lock(answer.mutex);
    answer.failure = std::move(failure);
    answer.done = true;
    answer.told.notify_one();
  });
  std::unique_lock lock(answer.mutex);
  answer.told.wait(lock, [&] { return answer.done; });
  return answer.failure;
}

}  // namespace te
