// Row-major float32 products for kernels that multiply small tiles themselves.
#pragma once
#include <dnnl.h>

#include <cstdint>

#include "te/status.h"

namespace te {

// C = alpha * op(A) op(B) + beta * C, where op(A) is m x k, op(B) is k x n and C is m x n. All matrices are row-major;
// lda, ldb and ldc are the distances between the rows as stored. With beta == 0, C may hold anything (NaN too).
// Runs on the calling thread alone when called inside a parallel region, on the whole team otherwise.
inline void sgemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda,
                  const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  const dnnl_status_t status =
      dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
  if (status != dnnl_success) throw Error("kernel", "sgemm: the matrix library refused the call");
}

}  // namespace te
