// Our declarations of cuBLASLt say what NVIDIA's header says. The comparison is made where the header is: beside
// CUDA's, or where CPATH leads.
#include <cstdio>

#include "cuda/gemm/cublaslt.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace lt = te::cuda::lt;
#define SAME(ours, theirs) static_assert(static_cast<int>(ours) == static_cast<int>(theirs))
SAME(lt::kSuccess, CUBLAS_STATUS_SUCCESS);
SAME(lt::kInvalidValue, CUBLAS_STATUS_INVALID_VALUE);
SAME(lt::kNotSupported, CUBLAS_STATUS_NOT_SUPPORTED);
SAME(lt::kCompute32F, CUBLAS_COMPUTE_32F);
SAME(lt::kComputeFastTf32, CUBLAS_COMPUTE_32F_FAST_TF32);
SAME(lt::kOpN, CUBLAS_OP_N);
SAME(lt::kOpT, CUBLAS_OP_T);
SAME(lt::desc::transa, CUBLASLT_MATMUL_DESC_TRANSA);
SAME(lt::desc::transb, CUBLASLT_MATMUL_DESC_TRANSB);
SAME(lt::desc::epilogue, CUBLASLT_MATMUL_DESC_EPILOGUE);
SAME(lt::desc::bias, CUBLASLT_MATMUL_DESC_BIAS_POINTER);
SAME(lt::desc::aux, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER);
SAME(lt::desc::aux_ld, CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD);
SAME(lt::desc::a_scale, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER);
SAME(lt::desc::b_scale, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER);
SAME(lt::desc::d_scale, CUBLASLT_MATMUL_DESC_D_SCALE_POINTER);
SAME(lt::desc::amax_d, CUBLASLT_MATMUL_DESC_AMAX_D_POINTER);
SAME(lt::desc::fast_accum, CUBLASLT_MATMUL_DESC_FAST_ACCUM);
SAME(lt::desc::bias_type, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE);
SAME(lt::layout::batch_count, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT);
SAME(lt::layout::batch_stride, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET);
SAME(lt::preference::workspace, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES);
SAME(lt::preference::reduction, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK);
SAME(lt::reduction::compute_type, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
SAME(lt::preference::alignment_a, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES);
SAME(lt::preference::alignment_b, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES);
SAME(lt::preference::alignment_c, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES);
SAME(lt::preference::alignment_d, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES);
SAME(lt::epilogue::none, CUBLASLT_EPILOGUE_DEFAULT);
SAME(lt::epilogue::bias, CUBLASLT_EPILOGUE_BIAS);
SAME(lt::epilogue::relu, CUBLASLT_EPILOGUE_RELU);
SAME(lt::epilogue::relu | lt::epilogue::bias, CUBLASLT_EPILOGUE_RELU_BIAS);
SAME(lt::epilogue::gelu, CUBLASLT_EPILOGUE_GELU);
SAME(lt::epilogue::gelu | lt::epilogue::bias, CUBLASLT_EPILOGUE_GELU_BIAS);
SAME(lt::epilogue::gelu_aux, CUBLASLT_EPILOGUE_GELU_AUX);
SAME(lt::epilogue::gelu_aux | lt::epilogue::bias, CUBLASLT_EPILOGUE_GELU_AUX_BIAS);
SAME(lt::epilogue::gelu_slope, CUBLASLT_EPILOGUE_DGELU);
SAME(lt::epilogue::gelu_slope_bias_gradient, CUBLASLT_EPILOGUE_DGELU_BGRAD);
SAME(lt::epilogue::a_sums, CUBLASLT_EPILOGUE_BGRADA);
SAME(lt::epilogue::b_sums, CUBLASLT_EPILOGUE_BGRADB);
static_assert(sizeof(lt::Algo) == sizeof(cublasLtMatmulAlgo_t));
static_assert(sizeof(lt::Heuristic) == sizeof(cublasLtMatmulHeuristicResult_t));
static_assert(offsetof(lt::Heuristic, workspace) == offsetof(cublasLtMatmulHeuristicResult_t, workspaceSize));
static_assert(offsetof(lt::Heuristic, state) == offsetof(cublasLtMatmulHeuristicResult_t, state));

// Functions take as many arguments of the same sizes: handles are pointers, enums are ints.
template <class Result, class... A>
constexpr size_t sizes(Result (*)(A...)) {
  size_t all = sizeof(Result);
  ((all = all * 16 + sizeof(A)), ...);
  return all;
}
#define X(result, name, arguments)                                          \
  static_assert(sizes(static_cast<decltype(lt::Library::name)>(nullptr)) == \
                sizes(static_cast<decltype(&cublasLt##name)>(nullptr)));
TE_CUBLASLT_FUNCTIONS(X)
#undef X

int main() { std::printf("ok   the declarations of cuBLASLt, against version %d\n", CUBLAS_VERSION); }
#else
int main() { std::printf("skipped: there is no cublasLt.h\n"); }
#endif
