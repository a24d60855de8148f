// dot through cuBLASLt. Row-major y [m, n] = a b is column-major yᵀ = bᵀ aᵀ, so that b comes first.
#include "cuda/gemm/cublaslt.h"
#include "cuda/registration.h"
#include "plan/dot_dims.h"

namespace te::cuda {

// In move.cu.
void permute(const void* from, void* to, const Shape& shape, const std::vector<int64_t>& perm, size_t bytes);

namespace {

cudaDataType_t type_of(DType t) {
  return t == DType::float32         ? CUDA_R_32F
         : t == DType::bfloat16      ? CUDA_R_16BF
         : t == DType::float16       ? CUDA_R_16F
         : t == DType::float8_e4m3fn ? CUDA_R_8F_E4M3
                                     : CUDA_R_8F_E5M2;
}
void ok(int status, const char* what) {
  if (status != lt::kSuccess)
    throw Error("backend", std::string("cuBLASLt: ") + what + ": status " + std::to_string(status));
}
lt::Handle handle() {
  static lt::Handle h = [] {
    lt::Handle made;
    ok(lt::library().Create(&made), "create");
    return made;
  }();
  return h;
}

class Dot : public Kernel {
 public:
  Dot(DotDims dims, DType out) : dims_(std::move(dims)) {
    const auto& lib = lt::library();
    const auto layout = [&](const DotOperand& x, int64_t outer, int64_t inner, bool* transposed) {
      // column-major with the contiguous axis first: inner contiguous → [inner, outer], else [outer, inner]
      *transposed = x.inner_step == 1;
      lt::Layout l;
      const int64_t rows = *transposed ? inner : outer, columns = *transposed ? outer : inner;
      ok(lib.MatrixLayoutCreate(&l, type_of(x.dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(columns),
                                std::max<int64_t>(*transposed ? x.outer_step : x.inner_step, rows)),
         "layout");
      const int32_t batches = static_cast<int32_t>(dims_.batches());
      const int64_t stride = x.batch_steps.empty() ? 0 : x.batch_steps.back();
      ok(lib.MatrixLayoutSetAttribute(l, lt::layout::batch_count, &batches, 4), "batch");
      ok(lib.MatrixLayoutSetAttribute(l, lt::layout::batch_stride, &stride, 8), "stride");
      return l;
    };
    bool ta, tb;
    b_ = layout(dims_.b, dims_.n, dims_.k, &tb);  // op(B): [n, k], transposed when stored [k, n] column-major
    a_ = layout(dims_.a, dims_.m, dims_.k, &ta);
    ok(lib.MatmulDescCreate(&desc_, lt::kCompute32F, CUDA_R_32F), "descriptor");
    const int first = tb ? lt::kOpT : lt::kOpN, second = ta ? lt::kOpN : lt::kOpT;
    ok(lib.MatmulDescSetAttribute(desc_, lt::desc::transa, &first, 4), "transa");
    ok(lib.MatmulDescSetAttribute(desc_, lt::desc::transb, &second, 4), "transb");
    ok(lib.MatrixLayoutCreate(&y_, type_of(out), static_cast<uint64_t>(dims_.n), static_cast<uint64_t>(dims_.m),
                              dims_.n),
       "layout");
    const int32_t batches = static_cast<int32_t>(dims_.batches());
    const int64_t stride = dims_.m * dims_.n;
    ok(lib.MatrixLayoutSetAttribute(y_, lt::layout::batch_count, &batches, 4), "batch");
    ok(lib.MatrixLayoutSetAttribute(y_, lt::layout::batch_stride, &stride, 8), "stride");
    lt::Preference preference;
    ok(lib.MatmulPreferenceCreate(&preference), "preference");
    int found = 0;
    status = lib.MatmulAlgoGetHeuristic(handle(), desc_, b_, a_, y_, y_, preference, 1, &heuristic_, &found);
    lib.MatmulPreferenceDestroy(preference);
  }
  ~Dot() override {
    const auto& lib = lt::library();
    lib.MatmulDescDestroy(desc_), lib.MatrixLayoutDestroy(a_), lib.MatrixLayoutDestroy(b_), lib.MatrixLayoutDestroy(y_);
  }
  size_t scratch_bytes() const override { return offset(dims_.a) + offset(dims_.b); }
  static size_t offset(const DotOperand& x) {
    return x.copy ? (static_cast<size_t>(count(x.copy_shape)) * dtype_bytes(x.dtype) + 255) & ~size_t{255} : 0;
  }
  void run(const Call& call) override {
    const float one = 1, zero = 0;
    const void *a = call.in[0], *b = call.in[1];
    char* scratch = static_cast<char*>(call.scratch);
    for (auto [x, p] : {std::pair{&dims_.a, &a}, {&dims_.b, &b}}) {
      if (!x->copy) continue;
      permute(*p, scratch, x->copy_shape, x->copy_perm, dtype_bytes(x->dtype));
      *p = scratch;
      scratch += offset(*x);
    }
    ok(lt::library().Matmul(handle(), desc_, &one, b, b_, a, a_, &zero, call.out[0], y_, call.out[0], y_,
                            &heuristic_.algo, nullptr, 0, stream()),
       "matmul");
  }
  int status;

 private:
  DotDims dims_;
  lt::Desc desc_;
  lt::Layout a_, b_, y_;
  lt::Heuristic heuristic_;
};

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  if (!lt::library().reason.empty()) return *why = lt::library().reason, nullptr;
  if (node.inputs.size() > 2 && node.inputs[2].present) return *why = "bias", nullptr;
  DotDims dims;
  if (!dot_dims(node, &dims, why)) return nullptr;
  for (DotOperand* x : {&dims.a, &dims.b}) {  // one stride over all batches
    for (size_t i = 0; i + 1 < dims.batch.size(); ++i)
      if (x->batch_steps[i] != x->batch_steps[i + 1] * dims.batch[i + 1])
        return *why = "batch axes that do not nest", nullptr;
  }
  const DType a = dims.a.dtype, b = dims.b.dtype;
  if (a != b || a > DType::float16 || node.outputs[0].dtype > DType::float16) return *why = "dtypes", nullptr;
  if (dims.m * dims.n * dims.k * dims.batches() == 0) return *why = "empty", nullptr;
  auto kernel = std::make_unique<Dot>(std::move(dims), node.outputs[0].dtype);
  if (kernel->status != lt::kSuccess) return *why = "cuBLASLt declines", nullptr;
  return kernel;
}
TE_CUDA_KERNEL(dot, prepare);

}  // namespace
}  // namespace te::cuda
