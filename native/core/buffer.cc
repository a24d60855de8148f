// Failures, and the end of a buffer.
#include "te/buffer.h"

#include <new>

#include "te/pool.h"
#include "te/status.h"

namespace te {

const FailurePtr& taken_over() {
  static const auto failure =
      std::make_shared<const Failure>(Failure{"disposed", "the tensor was donated to a program that ran before"});
  return failure;
}

FailurePtr failure_of(std::exception_ptr error) {
  try {
    std::rethrow_exception(error);
  } catch (const Error& e) {
    return std::make_shared<Failure>(Failure{e.code, e.what()});
  } catch (const std::bad_alloc&) {
    return std::make_shared<Failure>(Failure{"memory", "a kernel ran out of memory"});
  } catch (const std::exception& e) {
    return std::make_shared<Failure>(Failure{"backend", e.what()});
  } catch (...) {
    return std::make_shared<Failure>(Failure{"backend", "a kernel failed for an unknown reason"});
  }
}

FailurePtr first_failure(const std::shared_ptr<const Outcomes>& outcomes) {
  if (outcomes)
    for (const auto& outcome : *outcomes)
      if (FailurePtr failure = outcome->failure()) return failure;
  return nullptr;
}

FailurePtr look_at_outcomes(Buffer& buffer) {
  auto open = std::make_shared<Outcomes>();
  for (const auto& outcome : *buffer.outcomes) {
    if (!outcome->known())
      open->push_back(outcome);
    else if (!buffer.failure)
      buffer.failure = outcome->failure();
  }
  buffer.outcomes = open->empty() ? nullptr : std::move(open);
  return buffer.failure;
}

void free_buffer(Buffer* buffer, Pool& memory) {
  memory.give(buffer->data, buffer->bytes);
  delete buffer;
}

}  // namespace te
