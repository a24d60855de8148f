// What one Node.js environment (the main thread or a worker) has on a device: its buffers, its programs and the
// promises that wait. Everything here runs on that environment's thread, but for `finished` and `uploaded`.
#pragma once
#include <deque>
#include <memory>
#include <vector>

#include "node/js.h"
#include "node/pressure.h"
#include "node/reads.h"
#include "node/table.h"
#include "te/queue.h"

namespace te {

class Session : public Client {
 public:
  Session(napi_env env, Device& device);
  ~Session() override;

  int32_t create(size_t bytes);
  // Copies now.
  int32_t from_bytes(const void* from, size_t bytes);
  // Copies on the queue's thread, from memory that `array` keeps and nobody changes.
  int32_t upload(napi_value array, const void* from, size_t bytes);
  void release(int32_t handle);
  // The same, of a tensor that was donated and may be gone already.
  void release_donated(int32_t handle);
  // Whether a tensor that was donated is still there, because the run failed. Waits for the run; the tensor counts
  // again.
  bool reclaim(int32_t handle);
  // Resolves with undefined when `array`, the memory at `to`, holds the contents; rejects with the failure.
  napi_value read(int32_t handle, napi_value array, void* to, size_t bytes);
  // Resolves with an ArrayBuffer of the contents, in memory that the device finds when it comes to it.
  napi_value fetch(int32_t handle);
  void read_sync(int32_t handle, void* to, size_t bytes);
  napi_value wait();

  int32_t compile(const ProgramSpec& spec);
  // `handles`: those of the inputs, then room for those of the outputs.
  void run(int32_t program, int32_t* handles, size_t count);
  void destroy(int32_t program);

  // The handle is released when `object` is collected. Says whether so much was added since the last look that it is
  // time to look for what was.
  bool own(int32_t handle, napi_value object);
  bool own_program(int32_t handle, napi_value object);
  // Releases what was collected, at once: V8's finalizers wait for the event loop.
  void release_collected();
  // The same when memory is due. False: too little was collected, so far.
  bool sweep();
  // Makes V8 collect all garbage and releases it.
  void collect();

  // Bytes that handles hold, and the highest that was. A donated tensor counts once, as the output that took it over.
  size_t live_bytes() const { return live_; }
  size_t peak_bytes() const { return peak_; }
  void reset_peak() { peak_ = live_; }
  Device& device() { return device_; }
  Queue& queue() { return *queue_; }

  // Drops all work that is queued and waits for the kernel that runs. Called when the environment ends.
  void close();
  bool closed() const { return !queue_; }

  void finished(uint64_t token, FailurePtr failure, void* memory) override {
    reads_.finished(token, std::move(failure), memory);
  }
  void uploaded(void* source) override { reads_.uploaded(source); }

 private:
  static constexpr size_t kPerBuffer = 512;  // what a buffer costs besides its contents, and a node of a program

  int32_t add(Buffer* buffer, Buffer* takes_over = nullptr);
  Buffer* new_buffer(size_t bytes);
  Buffer& expect(int32_t handle, size_t bytes);
  void submit(Task task, const std::vector<Buffer*>& operands = {});
  void end(Program* program);
  void wait_for_queue();
  napi_value promise(Task task, napi_value array);
  void stop_counting(Buffer& buffer);
  void touch_donated(Buffer& buffer, int32_t handle);
  void drop_taken();
  void free_dead_if_idle();
  size_t held() const;
  bool collected(void* reference) const;

  napi_env env_;
  Device& device_;
  std::shared_ptr<Queue> queue_;
  Reads reads_;
  Table<Buffer> buffers_{"tensor"};
  Table<Program> programs_{"program"};
  std::vector<Buffer*> dead_;  // released; freed when the queue is past the runs that may use them
  size_t dead_bytes_ = 0;
  std::vector<Buffer*> operands_;  // of the run that is being submitted
  struct Donation {
    uint64_t task;
    int32_t handle;
  };
  std::deque<Donation> donations_;  // in the order of their tasks
  size_t live_ = 0, peak_ = 0;
  size_t program_bytes_ = 0;
  Pressure pressure_;
};

}  // namespace te
