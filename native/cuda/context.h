// What kernels see of the GPU that they are prepared for and run on: its stream and its limits.
#pragma once
#include <cuda_runtime_api.h>

#include <string>

#include "te/status.h"

namespace te::cuda {

struct Gathering;
struct Status;

// One GPU of this process.
struct Context {
  int ordinal = 0;
  cudaDeviceProp properties{};
  cudaStream_t main = nullptr;     // that of all work
  cudaStream_t side = nullptr;     // on which programs are recorded
  Status* status = nullptr;        // on the device: see cuda/report.h
  Gathering* gathering = nullptr;  // on the device: see cuda/gathering.cuh
  int capability() const { return properties.major * 10 + properties.minor; }
};

// The GPU of the calling thread: that of the innermost Using, else of the thread's start.
Context& context();

// The stream that the calling thread's kernels are queued on: the main one, or the one that records.
cudaStream_t stream();

// Makes a GPU that of the calling thread for as long as it lives.
class Using {
 public:
  explicit Using(Context& context, cudaStream_t stream = nullptr);
  ~Using();
  Using(const Using&) = delete;

 private:
  Context* context_;
  cudaStream_t stream_;
};

// The error that a failed call stands for: "memory" where there is none left, else "backend" with CUDA's words. After
// some failures a GPU can do nothing more in this process, and the error says so.
Error error_of(cudaError_t status, const char* what);
void check(cudaError_t status, const char* what);

}  // namespace te::cuda
