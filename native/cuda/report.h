// How kernels say that a value was wrong, such as an index out of range: they write it to a word of the device that is
// read with the results of the run. No traps: those would end every tensor on the GPU.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdint>
#include <functional>

#include "cuda/context.h"
#include "te/buffer.h"

namespace te::cuda {

// Of the current run. All bits are set before it.
struct Status {
  unsigned long long where;  // position, then value: the least position wins
  unsigned site, unused;     // of the first kernel that reported
};

// What a kernel is given to report with.
struct Report {
  Status* status;
  unsigned site;
};

// A place that may report, for as long as it lives: makes the failure of a position and a value. A member of a kernel
// that says checks_values().
class Site {
 public:
  using Explain = std::function<Failure(int64_t position, int32_t value)>;
  explicit Site(Explain explain);
  ~Site();
  Site(const Site&) = delete;
  Report report() const { return {context().status, id_}; }

 private:
  unsigned id_;
};

// Of what was copied from the device. Null: nothing was reported.
FailurePtr failure_of(const Status& status);

}  // namespace te::cuda
