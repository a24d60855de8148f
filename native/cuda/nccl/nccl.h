// The little of NCCL that processes need, declared by ourselves: the library is opened at run time. On a machine that
// has its header, test/cuda/nccl_abi_test.cc compares every number.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>

namespace te::cuda::nccl {

using Comm = struct CommStruct*;

struct UniqueId {
  char data[128];
};

constexpr int kSuccess = 0, kInProgress = 7;
constexpr int kByte = 1;  // ncclUint8, for all data: what combines numbers is kernels of our own

// ncclSend, ncclRecv and ncclAllGather take a number of bytes, because of kByte.
#define TE_NCCL_FUNCTIONS(X)                                                       \
  X(int, GetVersion, (int*))                                                       \
  X(const char*, GetErrorString, (int))                                            \
  X(const char*, GetLastError, (Comm))                                             \
  X(int, GetUniqueId, (UniqueId*))                                                 \
  X(int, CommInitRank, (Comm*, int size, UniqueId, int rank))                      \
  X(int, CommAbort, (Comm))                                                        \
  X(int, CommGetAsyncError, (Comm, int*))                                          \
  X(int, GroupStart, ())                                                           \
  X(int, GroupEnd, ())                                                             \
  X(int, Send, (const void* from, size_t, int type, int peer, Comm, cudaStream_t)) \
  X(int, Recv, (void* to, size_t, int type, int peer, Comm, cudaStream_t))         \
  X(int, AllGather, (const void* from, void* to, size_t of_each, int type, Comm, cudaStream_t))

struct Library {
#define X(result, name, arguments) result(*name) arguments = nullptr;
  TE_NCCL_FUNCTIONS(X)
#undef X
  std::string version;  // "2.27.3"
};

// Opens NCCL once, the first that is asked for: the file of this name, or for "" the one that TE_NCCL names, else
// libnccl.so.2 of CUDA_HOME, of the system, or of NVIDIA's Python packages. Throws te::Error with the way out.
const Library& library(const std::string& file);

// Throws te::Error "backend" with NCCL's words where a function did not succeed.
void check(const Library& nccl, int status, const std::string& what, Comm comm = nullptr);

}  // namespace te::cuda::nccl
