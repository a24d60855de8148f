// The little of cuBLASLt that products need, declared by ourselves: its header is not part of nvcc, and the library is
// opened at run time. On a machine that has the header, test/cuda/cublaslt_abi_test.cc compares every number.
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
constexpr int workspace = 1, reduction = 3, alignment_a = 5, alignment_b = 6, alignment_c = 7, alignment_d = 8;
}
namespace reduction {
constexpr uint32_t compute_type = 2;
}
namespace epilogue {
// With bias: these and `bias`. gelu is the tanh form. `gelu_aux` also writes its argument, rounded; `gelu_slope` reads
// it. `a_sums` and `b_sums` write the sums of an operand over the depth where the bias would be.
constexpr int none = 1, relu = 2, bias = 4, gelu = 32, gelu_aux = 160, gelu_slope = 192, gelu_slope_bias_gradient = 208,
              a_sums = 256, b_sums = 512;
}  // namespace epilogue

#define TE_CUBLASLT_FUNCTIONS(X)                                                                                     \
  X(size_t, GetVersion, ())                                                                                          \
  X(int, Create, (Handle*))                                                                                          \
  X(int, MatmulDescCreate, (Desc*, int compute, cudaDataType_t scale))                                               \
  X(int, MatmulDescDestroy, (Desc))                                                                                  \
  X(int, MatmulDescSetAttribute, (Desc, int, const void*, size_t))                                                   \
  X(int, MatrixLayoutCreate, (Layout*, cudaDataType_t, uint64_t rows, uint64_t columns, int64_t ld))                 \
  X(int, MatrixLayoutDestroy, (Layout))                                                                              \
  X(int, MatrixLayoutSetAttribute, (Layout, int, const void*, size_t))                                               \
  X(int, MatmulPreferenceCreate, (Preference*))                                                                      \
  X(int, MatmulPreferenceDestroy, (Preference))                                                                      \
  X(int, MatmulPreferenceSetAttribute, (Preference, int, const void*, size_t))                                       \
  X(int, MatmulAlgoGetHeuristic,                                                                                     \
    (Handle, Desc, Layout a, Layout b, Layout c, Layout d, Preference, int wanted, Heuristic*, int* found))          \
  X(int, MatmulAlgoCheck, (Handle, Desc, Layout a, Layout b, Layout c, Layout d, const Algo*, Heuristic*))           \
  X(int, Matmul,                                                                                                     \
    (Handle, Desc, const void* alpha, const void* a, Layout, const void* b, Layout, const void* beta, const void* c, \
     Layout, void* d, Layout, const Algo*, void* workspace, size_t, cudaStream_t))

struct Library {
#define X(result, name, arguments) result(*name) arguments = nullptr;
  TE_CUBLASLT_FUNCTIONS(X)
#undef X
  std::string version;  // "13.1.0"
  std::string reason;   // why it is not there; "" where it is
};

// Opens cuBLASLt once: the file that TE_CUBLASLT names ("off": none), else libcublasLt.so.13 or .12 of CUDA_HOME, of
// the system, or of NVIDIA's Python packages. Never throws.
const Library& library();

}  // namespace te::cuda::lt
