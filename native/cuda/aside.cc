// Forks and joins of the stream of exchanges.
#include "cuda/aside.h"

#include <iterator>
#include <utility>

namespace te::cuda {

Aside::Aside(Context& context, Events& events) : context_(context), events_(events) {
  const Using use(context);
  check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
}

uint64_t Aside::start(const SideThread::Task& task) {
  Mark(events_, stream()).hold(stream_);
  forked_ = true;
  const Using use(context_, stream_);
  task.kernel->run(task.call);
  marks_.emplace_back(events_, stream_);
  return ++started_;
}

// Joining a task joins those before it.
void Aside::join(uint64_t number) {
  const uint64_t joined = started_ - marks_.size();
  if (number <= joined) return;
  const auto behind = marks_.begin() + static_cast<ptrdiff_t>(number - joined);
  std::prev(behind)->hold(stream());
  marks_.erase(marks_.begin(), behind);
  forked_ = !marks_.empty();
}

// A task that failed may have queued a part of its work. What a capture that failed has left behind is no work.
void Aside::end() noexcept {
  if (!std::exchange(forked_, false)) return;
  marks_.clear();
  try {
    Mark(events_, stream_).hold(stream());
  } catch (const Error&) {
    // The GPU is lost, as the next call will say.
  }
}

}  // namespace te::cuda
