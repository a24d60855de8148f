// Runs one node on the device, with operands in memory of exactly their sizes.
#pragma once
#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "cuda/device.h"
#include "cuda/registration.h"

namespace te::test {

using Bytes = std::vector<uint8_t>;

template <class T>
Bytes bytes_of(const std::vector<T>& values) {
  Bytes bytes(values.size() * sizeof(T));
  if (!bytes.empty()) std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}
template <class T>
std::vector<T> values_of(const Bytes& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

inline int failures = 0;
inline void expect(bool ok, const std::string& what) {
  if (ok) return;
  std::printf("FAILED %s\n", what.c_str());
  ++failures;
}

// The outputs of the node. in_place[k] is the input whose memory output k takes over, or -1.
inline std::vector<Bytes> run_node(const Node& node, const std::vector<Bytes>& inputs,
                                   const std::vector<int>& in_place = {}) {
  cuda::cuda_device(0).start_thread();
  std::string why;
  const std::unique_ptr<Kernel> kernel = prepare_kernel(node, &why);
  if (!kernel) throw std::runtime_error(node.op + " is declined: " + why);
  std::vector<void*> held;
  const auto take = [&](size_t bytes) {
    void* p = nullptr;
    cuda::check(cudaMalloc(&p, bytes ? bytes : 1), "cudaMalloc");
    held.push_back(p);
    return p;
  };
  std::vector<const void*> in;
  std::vector<void*> out;
  for (const Bytes& input : inputs) {
    void* p = take(input.size());
    if (!input.empty()) cuda::check(cudaMemcpy(p, input.data(), input.size(), cudaMemcpyHostToDevice), "copy");
    in.push_back(p);
  }
  for (size_t k = 0; k < node.outputs.size(); ++k) {
    const int from = k < in_place.size() ? in_place[k] : -1;
    out.push_back(from >= 0 ? const_cast<void*>(in[static_cast<size_t>(from)]) : take(node.outputs[k].bytes()));
  }
  kernel->run({in.data(), out.data(), take(kernel->scratch_bytes())});
  cuda::check(cudaStreamSynchronize(cuda::stream()), node.op.c_str());
  std::vector<Bytes> results;
  for (size_t k = 0; k < out.size(); ++k) {
    Bytes bytes(node.outputs[k].bytes());
    if (!bytes.empty()) cuda::check(cudaMemcpy(bytes.data(), out[k], bytes.size(), cudaMemcpyDeviceToHost), "copy");
    results.push_back(std::move(bytes));
  }
  for (void* p : held) cudaFree(p);
  return results;
}

}  // namespace te::test
