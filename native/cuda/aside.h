// Exchanges with other processes on a stream of their own, beside the kernels that need not wait for them.
#pragma once
#include <deque>

#include "cuda/events.h"
#include "te/side_thread.h"

namespace te::cuda {

// Events order it with stream(): with the main one, or with the one that records, whose graph then has a branch.
class Aside {
 public:
  Aside(Context& context, Events& events);

  // As the functions of te::Device of these names.
  uint64_t start(const SideThread::Task& task);
  void join(uint64_t number);
  void end() noexcept;

 private:
  Context& context_;
  Events& events_;
  cudaStream_t stream_ = nullptr;
  uint64_t started_ = 0;    // how many tasks
  bool forked_ = false;     // stream() has not joined all that was queued
  std::deque<Mark> marks_;  // behind each of the last tasks, which stream() has not joined
};

}  // namespace te::cuda
