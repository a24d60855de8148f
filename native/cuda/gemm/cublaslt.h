// The little of cuBLASLt that products need, declared by ourselves: its header is not part of nvcc, and the library is
// opened at run time. On a machine that has the header, test/cublaslt_abi.cc compares every number.
#pragma once
#include <cuda_runtime_api.h>
#include <library_types.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace te::cuda::lt {

using Handle = struct HandleStruct*;
using Desc = struct DescStruct*;
using Layout = struct LayoutStruct*;
using Preference = struct PreferenceStruct*;

struct Algo {
  uint64_t data[8];
};
struct Heuristic {
  Algo algo;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

constexpr int kSuccess = 0, kInvalidValue = 7, kNotSupported = 15;
constexpr int kCompute32F = 68, kComputeFastTf32 = 77;
constexpr int kOpN = 0, kOpT = 1;
namespace desc {
constexpr int transa = 3, transb = 4, epilogue = 7, bias = 8, aux = 11, aux_ld = 12, a_scale = 17, b_scale = 18,
              d_scale = 20, amax_d = 21, fast_accum = 25, bias_type = 26;
}
namespace layout {
constexpr int batch_count = 5, batch_stride = 6;
}
namespace preference {
constexpr int workspace = 1;
}
namespace epilogue {
constexpr int none = 1, bias = 4, gelu_aux = 160, gelu_aux_bias = 164, dgelu = 192, dgelu_bgrad = 208, bgrada = 256,
              bgradb = 512;
}

#define TE_CUBLASLT_FUNCTIONS(X)                                                                              \
  X(Create, (Handle*))                                                                                        \
  X(Destroy, (Handle))                                                                                        \
  X(MatmulDescCreate, (Desc*, int compute, cudaDataType_t scale))                                             \
  X(MatmulDescDestroy, (Desc))                                                                                \
  X(MatmulDescSetAttribute, (Desc, int, const void*, size_t))                                                 \
  X(MatrixLayoutCreate, (Layout*, cudaDataType_t, uint64_t rows, uint64_t columns, int64_t ld))               \
  X(MatrixLayoutDestroy, (Layout))                                                                            \
  X(MatrixLayoutSetAttribute, (Layout, int, const void*, size_t))                                             \
  X(MatmulPreferenceCreate, (Preference*))                                                                    \
  X(MatmulPreferenceDestroy, (Preference))                                                                    \
  X(MatmulPreferenceSetAttribute, (Preference, int, const void*, size_t))                                     \
  X(MatmulAlgoGetHeuristic,                                                                                   \
    (Handle, Desc, Layout a, Layout b, Layout c, Layout d, Preference, int wanted, Heuristic*, int* found))   \
  X(Matmul, (Handle, Desc, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta, \
             const void* c, Layout, void* d, Layout, const Algo*, void* workspace, size_t, cudaStream_t))

struct Library {
#define X(name, arguments) int(*name) arguments = nullptr;
  TE_CUBLASLT_FUNCTIONS(X)
#undef X
  std::string reason;  // why it is not there
};

// Opens libcublasLt.so.13 or .12 once; TE_CUBLASLT names another file. Never throws.
const Library& library();

}  // namespace te::cuda::lt
