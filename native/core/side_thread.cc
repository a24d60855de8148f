// The thread that exchanges with other processes while the device computes.
#include "te/side_thread.h"

#include <pthread.h>

#include <chrono>
#include <thread>

#include "te/parallel.h"

namespace te {
namespace {

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

SideThread& SideThread::shared() {
  static SideThread* const one = [] {
    auto* made = new SideThread;  // outlives every static
    std::thread([made] { made->loop(); }).detach();
    return made;
  }();
  return *one;
}

uint64_t SideThread::start(const Task& task) {
  uint64_t number;
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(task);
    number = ++started_;
  }
  work_.notify_one();
  return number;
}

void SideThread::wait(uint64_t number) {
  std::unique_lock lock(mutex_);
  wait_locked(lock, number);
  if (failure_) std::rethrow_exception(failure_);
}

void SideThread::settle() noexcept {
  std::unique_lock lock(mutex_);
  wait_locked(lock, started_);
  failure_ = nullptr;
}

void SideThread::wait_locked(std::unique_lock<std::mutex>& lock, uint64_t number) {
  done_.wait(lock, [&] { return finished_ >= number; });
}

void SideThread::loop() {
#ifdef __linux__
  pthread_setname_np(pthread_self(), "te-exchange");
#endif
  use_threads(1);  // the others compute
  std::unique_lock lock(mutex_);
  for (;;) {
    work_.wait(lock, [this] { return next_ < tasks_.size(); });
    const Task task = tasks_[next_];
    const bool fails = failure_ != nullptr;  // then the rest of the run is left out
    lock.unlock();
    std::exception_ptr failure;
    *task.start_ns = now_ns();
    try {
      if (!fails) task.kernel->run(task.call);
    } catch (...) {
      failure = std::current_exception();
    }
    *task.ns = now_ns() - *task.start_ns;
    lock.lock();
    if (failure && !failure_) failure_ = failure;
    ++finished_;
    if (++next_ == tasks_.size()) {
      tasks_.clear();
      next_ = 0;
    }
    done_.notify_all();
  }
}

}  // namespace te
