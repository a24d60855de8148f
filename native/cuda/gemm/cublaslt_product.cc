// Products on cuBLASLt. Row-major y [m, n] = a b is column-major yᵀ [n, m] = bᵀ aᵀ, so that b is its first operand. FP8
// must have the depth contiguous and every size a multiple of 16; operands that lack that are laid out anew.
#include <algorithm>
#include <numeric>

#include "cuda/gemm/arrange.h"
#include "cuda/gemm/choices.h"
#include "cuda/gemm/finish.h"
#include "cuda/gemm/product.h"
#include "cuda/gemm/settings.h"

namespace te::cuda {
namespace {

constexpr int64_t kMostCalls = 64;  // of cuBLASLt for one product; operands of more are laid out anew
constexpr int64_t kBaseAlignment = 64;

cudaDataType_t type_of(DType t) {
  switch (t) {
    case DType::bfloat16:
      return CUDA_R_16BF;
    case DType::float16:
      return CUDA_R_16F;
    case DType::float8_e4m3fn:
      return CUDA_R_8F_E4M3;
    case DType::float8_e5m2:
      return CUDA_R_8F_E5M2;
    default:
      return CUDA_R_32F;
  }
}

// Batches that one call does, and those that take a call each.
struct Calls {
  DotBatch strided{1, 0, 0};
  int64_t strided_y = 0;
  struct Offset {
    int64_t a, b, y;
  };
  std::vector<Offset> offsets = {{0, 0, 0}};
};

Calls calls_of(const DotDims& dims, int64_t y_size) {
  const std::vector<DotBatch> axes = merged_batch(dims);
  const auto most = std::max_element(axes.begin(), axes.end(), [](auto& x, auto& y) { return x.size < y.size; });
  Calls calls;
  int64_t y_step = y_size;
  for (size_t i = axes.size(); i-- > 0; y_step *= axes[i].size) {
    if (axes.begin() + static_cast<int64_t>(i) == most) {
      calls.strided = axes[i];
      calls.strided_y = y_step;
      continue;
    }
    std::vector<Calls::Offset> all;
    for (int64_t j = 0; j < axes[i].size; ++j)
      for (const auto& o : calls.offsets)
        all.push_back({o.a + j * axes[i].a_step, o.b + j * axes[i].b_step, o.y + j * y_step});
    calls.offsets = std::move(all);
  }
  return calls;
}

int64_t count_calls(const DotDims& dims) {
  int64_t all = 1, most = 1;
  for (const DotBatch& axis : merged_batch(dims)) all *= axis.size, most = std::max(most, axis.size);
  return all / most;
}

int alignment_of(const std::vector<Calls::Offset>& offsets, int64_t Calls::Offset::*which, size_t bytes) {
  int64_t alignment = kBaseAlignment;
  for (const auto& o : offsets) alignment = std::gcd(alignment, o.*which * static_cast<int64_t>(bytes));
  return static_cast<int>(alignment);
}

class CublasLtProduct : public Product {
 public:
  explicit CublasLtProduct(const ProductSpec& spec) : spec_(spec), m_(spec.dims.m), n_(spec.dims.n) {
    arrange_operands();
    choose_result();
    if (fits_epilogue()) make_matmul();
  }
  bool works() const { return choice_.has_value(); }
  size_t scratch_bytes() const override {
    return (a_ ? a_->bytes() : 0) + (b_ ? b_->bytes() : 0) + (sums_apart_ ? sums_bytes() : 0);
  }
  std::string path() const override {
    std::string text = "cuBLASLt";
    if (a_) text += ", a laid out anew";
    if (b_) text += ", b laid out anew";
    return finishes_ ? text + ", finished apart" : text;
  }

  void run(const ProductCall& call) override {
    char* scratch = static_cast<char*>(call.scratch);
    const auto take = [&](size_t bytes) { return std::exchange(scratch, scratch + bytes); };
    const auto operand = [&](const std::unique_ptr<Arrange>& arrange, const void* from) {
      if (!arrange) return static_cast<const char*>(from);
      char* to = take(arrange->bytes());
      arrange->run(from, to);
      return static_cast<const char*>(to);
    };
    const char *a = operand(a_, call.a), *b = operand(b_, call.b);
    char* d = sums_apart_ ? take(sums_bytes()) : static_cast<char*>(call.y);
    for (const auto& offset : calls_.offsets) {
      const DotDims& dims = spec_.dims;
      const auto at = [](auto* p, int64_t i, DType t) { return p + i * static_cast<int64_t>(dtype_bytes(t)); };
      multiply({at(b, offset.b, dims.b.dtype), at(a, offset.a, dims.a.dtype),
                spec_.bias_gradient ? call.bias_gradient : call.bias, call.b_scale, call.a_scale,
                at(d, offset.y, written_), call.aux});
    }
    if (finishes_)
      finish({reinterpret_cast<const float*>(d), call.y, spec_.result, joins_bias_ ? nullptr : call.bias, spec_.bias,
              spec_.dims.batches(), spec_.dims.m, spec_.dims.n, m_, n_});
  }

 private:
  void arrange_operands() {
    DotDims& dims = spec_.dims;
    const bool fp8 = is_float8(dims.a.dtype), mixed = !fp8 && dims.a.dtype != dims.b.dtype;
    const bool scattered = count_calls(dims) > kMostCalls;
    const int64_t k = dims.k;
    const auto arrange = [&](DotOperand* x, int64_t outer, std::unique_ptr<Arrange>* to) {
      const DType type = mixed ? DType::float32 : x->dtype;
      if (!scattered && !x->copy && x->dtype == type && (!fp8 || fits_fp8(*x, outer))) return;
      *to = std::make_unique<Arrange>(*x, dims.batch, outer, k, type, fp8 ? 16 : 1);
      *x = (*to)->result();
    };
    arrange(&dims.a, dims.m, &a_);
    arrange(&dims.b, dims.n, &b_);
    if (fp8) m_ = round_up(dims.m, 16), n_ = round_up(dims.n, 16);
  }
  bool fits_fp8(const DotOperand& x, int64_t outer) const {
    bool fits = x.inner_step == 1 && x.outer_step % 16 == 0 && outer % 16 == 0 && spec_.dims.k % 16 == 0;
    for (size_t i = 0; i < x.batch_steps.size(); ++i)
      fits = fits && (spec_.dims.batch[i] == 1 || x.batch_steps[i] % 16 == 0);
    return fits;
  }

  // What cuBLASLt writes: the result, if it has that dtype for these operands and can add the bias; float32 otherwise.
  void choose_result() {
    const DType a = spec_.dims.a.dtype;
    const bool fp8 = is_float8(a), padded = m_ != spec_.dims.m || n_ != spec_.dims.n;
    const bool writes = fp8 || spec_.result == a || spec_.result == DType::float32;
    const bool adds = !spec_.biased || (spec_.bias == spec_.result && !(fp8 && spec_.result == DType::float32));
    joins_bias_ = spec_.biased && writes && adds && !padded;
    const bool directly = writes && adds && !padded;
    written_ = directly ? spec_.result : DType::float32;
    finishes_ = !directly;
    sums_apart_ = finishes_ && (padded || spec_.result != DType::float32);
  }
  size_t sums_bytes() const { return aligned_bytes(static_cast<size_t>(spec_.dims.batches() * m_ * n_) * 4); }

  // Epilogues but the bias: of one product without batches, which cuBLASLt writes itself. Its rows of aux begin at
  // multiples of eight elements.
  bool fits_epilogue() const {
    if (spec_.epilogue == Epilogue::none) return true;
    return !finishes_ && spec_.dims.batches() == 1 && (!spec_.has_aux() || n_ % 8 == 0);
  }
  int epilogue() const {
    switch (spec_.epilogue) {
      case Epilogue::gelu:
        return (spec_.saves ? lt::epilogue::gelu_aux : lt::epilogue::gelu) | (joins_bias_ ? lt::epilogue::bias : 0);
      case Epilogue::relu:
        return lt::epilogue::relu | (joins_bias_ ? lt::epilogue::bias : 0);
      case Epilogue::gelu_slope:
        return spec_.bias_gradient ? lt::epilogue::gelu_slope_bias_gradient : lt::epilogue::gelu_slope;
      case Epilogue::a_sums:
        return lt::epilogue::b_sums;
      case Epilogue::b_sums:
        return lt::epilogue::a_sums;
      default:
        return joins_bias_ ? lt::epilogue::bias : lt::epilogue::none;
    }
  }

  void make_matmul() {
    const DotDims& dims = spec_.dims;
    const DotOperand &a = dims.a, &b = dims.b;
    const bool fp8 = is_float8(a.dtype);
    const int64_t k = fp8 ? round_up(dims.k, 16) : dims.k;
    const ProductSettings& settings = product_settings();
    calls_ = calls_of(dims, m_ * n_);
    const auto step = [](const DotOperand& x, int64_t outer, int64_t depth) {
      return x.inner_step == 1 ? std::max(x.outer_step, depth) : std::max(x.inner_step, outer);
    };
    MatmulShape s{};
    s.a = type_of(b.dtype), s.b = type_of(a.dtype), s.d = type_of(written_);
    s.a_transposed = b.inner_step == 1, s.b_transposed = a.inner_step != 1;
    s.rows = n_, s.columns = m_, s.depth = k;
    s.a_step = step(b, n_, k), s.b_step = step(a, m_, k), s.d_step = n_;
    s.batches = calls_.strided.size;
    s.a_batch = calls_.strided.b_step, s.b_batch = calls_.strided.a_step, s.d_batch = calls_.strided_y;
    s.tf32 = a.dtype == DType::float32 && settings.tf32;
    s.fast_fp8 = fp8 && !settings.precise_fp8 && a.dtype != DType::float8_e5m2 && b.dtype != DType::float8_e5m2;
    s.scaled = spec_.scaled, s.biased = joins_bias_ || spec_.bias_gradient;
    s.epilogue = epilogue(), s.has_aux = spec_.has_aux();
    s.a_alignment = alignment_of(calls_.offsets, &Calls::Offset::b, dtype_bytes(b.dtype));
    s.b_alignment = alignment_of(calls_.offsets, &Calls::Offset::a, dtype_bytes(a.dtype));
    s.d_alignment = alignment_of(calls_.offsets, &Calls::Offset::y, dtype_bytes(written_));
    matmul_ = std::make_unique<Matmul>(s);
    choice_ = known_choice(*matmul_);
    settled_ = settings.tune != ProductSettings::Tune::time;
  }

  void multiply(const MatmulCall& call) {
    if (!settled_) settle(call);
    matmul_->run(call, *choice_);
  }
  // The first run outside of a capture times what there is; the other kernels of the problem take what it finds.
  void settle(const MatmulCall& call) {
    cudaStreamCaptureStatus capture;
    check(cudaStreamIsCapturing(stream(), &capture), "capture");
    if (capture != cudaStreamCaptureStatusNone) return;
    choice_ = wants_timing(*matmul_) ? time_choices(*matmul_, call) : known_choice(*matmul_);
    settled_ = true;
  }

  ProductSpec spec_;
  int64_t m_, n_;  // of what cuBLASLt writes
  std::unique_ptr<Arrange> a_, b_;
  DType written_ = DType::float32;
  bool joins_bias_ = false, finishes_ = false, sums_apart_ = false;
  Calls calls_;
  std::unique_ptr<Matmul> matmul_;
  std::optional<lt::Algo> choice_;
  bool settled_ = true;
};

}  // namespace

std::unique_ptr<Product> make_cublaslt_product(const ProductSpec& spec) {
  auto product = std::make_unique<CublasLtProduct>(spec);
  return product->works() ? std::unique_ptr<Product>(std::move(product)) : nullptr;
}

}  // namespace te::cuda
