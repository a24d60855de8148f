// One call of cuBLASLt: what it multiplies, and the descriptors that say so.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "cuda/context.h"
#include "cuda/gemm/cublaslt.h"

namespace te::cuda {

// As cuBLASLt counts, column by column: d [rows, columns] = op(a) [rows, depth] op(b) [depth, columns], batches with
// steps in elements.
struct MatmulShape {
  cudaDataType_t a, b, d;
  bool a_transposed, b_transposed;
  int64_t rows, columns, depth;
  int64_t a_step, b_step, d_step;  // between columns as they are stored
  int64_t batches, a_batch, b_batch, d_batch;
  bool tf32, fast_fp8, scaled, biased;        // biased: there is a bias, or a gradient of one
  int a_alignment, b_alignment, d_alignment;  // of every pointer, in bytes
  int epilogue = lt::epilogue::none;          // with the bias
  bool has_aux = false;                       // with the layout of d

  // The same text for the same problem on the same GPU and library.
  std::string key() const;
};

struct MatmulCall {
  const void *a, *b, *bias;
  const float *a_scale, *b_scale;
  void* d;
  void* aux = nullptr;
};

class Matmul {
 public:
  explicit Matmul(const MatmulShape& shape);
  ~Matmul();
  Matmul(const Matmul&) = delete;

  const MatmulShape& shape() const { return shape_; }
  // What cuBLASLt recommends, best first; nothing where it cannot.
  std::vector<lt::Algo> recommended(int wanted) const;
  // Whether an algorithm that was stored can still be used.
  bool accepts(const lt::Algo& algo) const;
  // Queues the product on stream().
  void run(const MatmulCall& call, const lt::Algo& algo);

 private:
  MatmulShape shape_;
  lt::Desc desc_ = nullptr;
  lt::Layout a_ = nullptr, b_ = nullptr, d_ = nullptr;
};

}  // namespace te::cuda
