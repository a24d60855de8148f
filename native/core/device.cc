// A download that waits.
#include "te/device.h"

#include <condition_variable>
#include <mutex>

namespace te {

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
