// What a tensor is on a device: its memory, or why it has none.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace te {

class Pool;

// Why a buffer has no contents: the code and message of the kernel that should have made them.
struct Failure {
  std::string code, message;
};
using FailurePtr = std::shared_ptr<const Failure>;

// The failure of a buffer whose memory a run took over.
const FailurePtr& taken_over();
// That of an exception.
FailurePtr failure_of(std::exception_ptr error);

// How a run went, where the device knows that later than it enqueued the run.
class Outcome {
 public:
  virtual ~Outcome() = default;
  virtual bool known() const = 0;          // on any thread
  virtual FailurePtr failure() const = 0;  // null: well; to be asked when known
};

// The runs that contents depend on and that were not known when they were enqueued.
using Outcomes = std::vector<std::shared_ptr<const Outcome>>;
FailurePtr first_failure(const std::shared_ptr<const Outcomes>& outcomes);

// One tensor's memory. Only the queue's thread touches the fields after the buffer was handed to it, but for those that
// are its owner's.
struct Buffer {
  void* data = nullptr;  // nullptr until a run fills it, and after a run that it was donated to
  size_t bytes = 0;
  FailurePtr failure;
  std::shared_ptr<const Outcomes> outcomes;  // null: nothing else can fail
  uint64_t stamp = 0;                        // the run that last counted its uses, and their number
  int uses = 0;
  // Its owner's: the bytes it stands for among those held (0 once a run was given them to write over), the last task
  // that touches it since then (0 before), its handle, and the weak reference to the object that holds that handle.
  size_t counted = 0;
  uint64_t donated = 0;
  int32_t handle = 0;
  void* reference = nullptr;
};

// What is known by now to have failed of a buffer's own run and of those it depends on. The queue's thread only.
FailurePtr look_at_outcomes(Buffer& buffer);
inline FailurePtr known_failure(Buffer& buffer) { return buffer.outcomes ? look_at_outcomes(buffer) : buffer.failure; }

void free_buffer(Buffer* buffer, Pool& memory);

}  // namespace te
