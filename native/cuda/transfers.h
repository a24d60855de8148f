// Copies between the machine and a GPU that hold nobody up: through pinned memory, and told of by a thread that waits
// for events.
#pragma once
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "cuda/events.h"
#include "te/device.h"

namespace te::cuda {

class Transfers {
 public:
  Transfers(Context& context, Events& events);
  ~Transfers();

  // Copies `from` before it returns.
  void upload(void* to, const void* from, size_t bytes);
  // Fills `to`, which may be any memory of the machine, and tells `done`.
  void download(void* to, const void* from, size_t bytes, Done done);
  // Tells `done` behind everything enqueued so far.
  void fence(Done done);
  // Returns when everyone was told.
  void finish();

 private:
  static constexpr size_t kChunk = size_t{4} << 20;
  struct Block {  // of pinned memory; in use until its mark
    void* data;
    size_t bytes;
    Mark mark;
  };
  struct Waiting {
    Mark mark;
    void* to;
    void* staged;  // what is copied to `to` when the mark is reached; may be nullptr
    size_t bytes;
    Done done;  // may be empty
  };
  void reclaim(bool wait);
  void enqueue(Waiting waiting);
  void loop();

  Context& context_;
  Events& events_;
  std::mutex upload_mutex_;
  std::deque<Block> uploading_;  // the oldest first
  size_t uploading_bytes_ = 0;

  std::mutex mutex_;  // of all below
  std::condition_variable changed_;
  std::deque<Waiting> waiting_;
  bool working_ = false, stopped_ = false;
  std::thread thread_;
};

// What a failed call says of the GPU: null for success. After some failures the GPU can do nothing more in this
// process.
FailurePtr failure_of(cudaError_t status);

}  // namespace te::cuda
