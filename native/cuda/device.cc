// A GPU as a device: one stream for all work but exchanges, memory from pools, graphs, and outcomes that are known when
// the stream comes to them.
#include "cuda/device.h"

#include <deque>
#include <map>
#include <mutex>
#include <utility>

#include "cuda/aside.h"
#include "cuda/events.h"
#include "cuda/gathering.h"
#include "cuda/graph.h"
#include "cuda/machine_code.h"
#include "cuda/memory.h"
#include "cuda/nccl/communicators.h"
#include "cuda/nccl/world.h"
#include "cuda/report.h"
#include "cuda/transfers.h"

namespace te::cuda {
namespace {

// Places of pinned memory that statuses are copied to. One that nobody asks for any more is used again when its copy is
// done: whoever drops an outcome does not wait.
class StatusPlaces {
 public:
  Status* take() {
    std::lock_guard lock(mutex_);
    if (!dropped_.empty() && dropped_.front().second.reached()) {
      Status* place = dropped_.front().first;
      dropped_.pop_front();
      return place;
    }
    return static_cast<Status*>(pinned_pool().take(sizeof(Status)));
  }
  void drop(Status* place, Mark mark) {
    std::lock_guard lock(mutex_);
    dropped_.emplace_back(place, std::move(mark));
  }

 private:
  std::mutex mutex_;
  std::deque<std::pair<Status*, Mark>> dropped_;
};

// How the collectives of a run went: known when the stream has come past them.
class CollectiveOutcome : public Outcome {
 public:
  CollectiveOutcome(Context& context, Events& events, std::string what, std::shared_ptr<const Outcome> values)
      : what_(std::move(what)), values_(std::move(values)), mark_(events, context.main) {}
  bool known() const override { return mark_.reached(); }
  FailurePtr failure() const override {
    const cudaError_t status = mark_.wait();
    if (FailurePtr failure = world_failure(what_)) return failure;
    return values_ ? values_->failure() : cuda::failure_of(status);
  }

 private:
  const std::string what_;                       // what the first of them is for
  const std::shared_ptr<const Outcome> values_;  // of the run's checks of values, if any
  Mark mark_;
};

// What a run left in the status, copied to the host behind it.
class RunOutcome : public Outcome {
 public:
  RunOutcome(Context& context, Events& events, StatusPlaces& places)
      : places_(places), status_(places.take()), mark_(copy(context, events)) {}
  ~RunOutcome() override { places_.drop(status_, std::move(mark_)); }
  bool known() const override { return mark_.reached(); }
  FailurePtr failure() const override {
    if (FailurePtr failure = cuda::failure_of(mark_.wait())) return failure;
    return cuda::failure_of(*status_);
  }

 private:
  Mark copy(Context& context, Events& events) const {
    check(cudaMemcpyAsync(status_, context.status, sizeof(Status), cudaMemcpyDeviceToHost, context.main), "the GPU");
    return Mark(events, context.main);
  }
  StatusPlaces& places_;
  Status* const status_;
  Mark mark_;
};

struct Parts {
  explicit Parts(int ordinal);
  Context context;
  Events events;
  StatusPlaces places;
  DeviceMemory allocator{context};
  Pool pool{allocator};
};

class Cuda : private Parts, public Device {
 public:
  Cuda(int ordinal, const std::string& name) : Parts(ordinal), Device(name, pool, pinned_pool()) {}

  Context& gpu() { return context; }

  void start_thread() override { static thread_local const Using use(context); }

  void upload(void* to, const void* from, size_t bytes) override { transfers_.upload(to, from, bytes); }
  void copy(void* to, const void* from, size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream()), "copy on the GPU");
  }
  void download(void* to, const void* from, size_t bytes, Done done) override {
    transfers_.download(to, from, bytes, std::move(done));
  }
  void fence(Done done) override { transfers_.fence(std::move(done)); }
  void finish() override {
    const Using use(context);
    cudaStreamSynchronize(context.main);  // what failed is told to whoever reads
    transfers_.finish();
  }

  // Between two events, so that neither the launch nor the wait counts.
  int64_t time(const std::function<void()>& body) override {
    const Using use(context);
    struct Ends {
      cudaEvent_t begin = nullptr, end = nullptr;
      ~Ends() {
        if (begin) cudaEventDestroy(begin);
        if (end) cudaEventDestroy(end);
      }
    } ends;
    check(cudaEventCreate(&ends.begin), "cudaEventCreate");
    check(cudaEventCreate(&ends.end), "cudaEventCreate");
    finish();
    check(cudaEventRecord(ends.begin, context.main), "the GPU");
    body();
    check(cudaEventRecord(ends.end, context.main), "the GPU");
    finish();
    float ms = 0;
    check(cudaEventElapsedTime(&ms, ends.begin, ends.end), "the GPU");
    return static_cast<int64_t>(static_cast<double>(ms) * 1e6);
  }

  std::unique_ptr<Kernel> prepare(const Node& node, int, std::string* why) override {
    const Using use(context);
    return prepare_kernel(node, why);
  }
  void begin_run(int, bool checks) override {
    take_begun();
    if (checks) check(cudaMemsetAsync(context.status, 0xff, sizeof(Status), context.main), "the GPU");
  }
  void settle() override {
    if (const FailurePtr failure = RunOutcome(context, events, places).failure())
      throw Error(failure->code, failure->message);
  }
  std::shared_ptr<const Outcome> end_run(bool checks) override {
    std::shared_ptr<const Outcome> own = checks ? std::make_shared<RunOutcome>(context, events, places) : nullptr;
    const std::string what = take_begun();
    if (what.empty()) return own;
    return std::make_shared<CollectiveOutcome>(context, events, what, std::move(own));
  }

  uint64_t start_aside(const SideThread::Task& task) override { return aside_.start(task); }
  void join_aside(uint64_t number) override { aside_.join(number); }
  void end_aside() noexcept override { aside_.end(); }

  bool records() const override { return true; }
  std::unique_ptr<Recording> record(const std::function<void()>& body) override { return capture(context, body); }

 private:
  Transfers transfers_{context, events};
  Aside aside_{context, events};
};

Parts::Parts(int ordinal) {
  context.ordinal = ordinal;
  check(cudaGetDeviceProperties(&context.properties, ordinal), "the GPU");
  if (const std::string reason = reason_against(context.properties); !reason.empty()) throw Error("backend", reason);
  const Using use(context);
  expect_machine_code(context);
  for (cudaStream_t* stream : {&context.main, &context.side})
    check(cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking), "cudaStreamCreate");
  check(cudaMalloc(reinterpret_cast<void**>(&context.status), sizeof(Status)), "cudaMalloc");
  check(cudaMalloc(reinterpret_cast<void**>(&context.gathering), sizeof(Gathering)), "cudaMalloc");
  check(cudaMemsetAsync(context.gathering, 0, sizeof(Gathering), context.main), "the GPU");
}

}  // namespace

std::string reason_against(const cudaDeviceProp& properties) {
  if (properties.major >= 8) return "";
  return std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." +
         std::to_string(properties.minor) + ", and the kernels need 8.0 or higher";
}

namespace {

Cuda& device_of(int ordinal) {
  static auto* mutex = new std::mutex;
  static auto* devices = new std::map<int, Cuda*>;
  std::lock_guard lock(*mutex);
  Cuda*& device = (*devices)[ordinal];
  if (!device) device = new Cuda(ordinal, ordinal == 0 ? "cuda" : "cuda:" + std::to_string(ordinal));
  return *device;
}

}  // namespace

Device& cuda_device(int ordinal) { return device_of(ordinal); }
Context& cuda_context(int ordinal) { return device_of(ordinal).gpu(); }

}  // namespace te::cuda
