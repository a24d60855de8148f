// Descriptors of cuBLASLt, and its handle and workspace, of which a GPU has one each: its products run one by one.
#include "cuda/gemm/matmul.h"

#include <map>
#include <mutex>
#include <sstream>

#include "te/status.h"

namespace te::cuda {
namespace {

void ok(int status, const char* what) {
  if (status != lt::kSuccess)
    throw Error("backend", std::string("cuBLASLt: ") + what + ": status " + std::to_string(status));
}

struct Resources {
  lt::Handle handle = nullptr;
  void* workspace = nullptr;
  size_t bytes = 0;
};

// Those of context(). The first call allocates: kernels are prepared before anything is captured.
const Resources& resources() {
  static auto* mutex = new std::mutex;
  static auto* all = new std::map<int, Resources>;
  std::lock_guard lock(*mutex);
  Resources& r = (*all)[context().ordinal];
  if (r.handle) return r;
  r.bytes = size_t{context().capability() >= 90 ? 32u : 4u} << 20;
  if (!r.workspace) check(cudaMalloc(&r.workspace, r.bytes), "workspace of cuBLASLt");
  ok(lt::library().Create(&r.handle), "create");
  return r;
}

lt::Layout layout(cudaDataType_t type, int64_t rows, int64_t columns, int64_t step, int64_t batches, int64_t batch) {
  const auto& lib = lt::library();
  lt::Layout made = nullptr;
  ok(lib.MatrixLayoutCreate(&made, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), step), "layout");
  const auto count = static_cast<int32_t>(batches);
  ok(lib.MatrixLayoutSetAttribute(made, lt::layout::batch_count, &count, sizeof count), "batches");
  ok(lib.MatrixLayoutSetAttribute(made, lt::layout::batch_stride, &batch, sizeof batch), "batches");
  return made;
}

template <class T>
void set(lt::Desc desc, int attribute, T value) {
  ok(lt::library().MatmulDescSetAttribute(desc, attribute, &value, sizeof value), "descriptor");
}

}  // namespace

std::string MatmulShape::key() const {
  std::ostringstream text;
  text << context().properties.name << ';' << lt::library().version;
  for (int64_t x : {int64_t{a},
                    int64_t{b},
                    int64_t{d},
                    int64_t{a_transposed},
                    int64_t{b_transposed},
                    rows,
                    columns,
                    depth,
                    a_step,
                    b_step,
                    d_step,
                    batches,
                    a_batch,
                    b_batch,
                    d_batch,
                    int64_t{tf32},
                    int64_t{fast_fp8},
                    int64_t{scaled},
                    int64_t{biased},
                    int64_t{epilogue},
                    int64_t{a_alignment},
                    int64_t{b_alignment},
                    int64_t{d_alignment}})
    text << ';' << x;
  return text.str();
}

Matmul::Matmul(const MatmulShape& shape) : shape_(shape) {
  const MatmulShape& s = shape_;
  resources();
  a_ =
      layout(s.a, s.a_transposed ? s.depth : s.rows, s.a_transposed ? s.rows : s.depth, s.a_step, s.batches, s.a_batch);
  b_ = layout(s.b, s.b_transposed ? s.columns : s.depth, s.b_transposed ? s.depth : s.columns, s.b_step, s.batches,
              s.b_batch);
  d_ = layout(s.d, s.rows, s.columns, s.d_step, s.batches, s.d_batch);
  ok(lt::library().MatmulDescCreate(&desc_, s.tf32 ? lt::kComputeFastTf32 : lt::kCompute32F, CUDA_R_32F), "descriptor");
  set<int32_t>(desc_, lt::desc::transa, s.a_transposed ? lt::kOpT : lt::kOpN);
  set<int32_t>(desc_, lt::desc::transb, s.b_transposed ? lt::kOpT : lt::kOpN);
  if (s.fast_fp8) set<int8_t>(desc_, lt::desc::fast_accum, 1);
  // Pointers come later; these tell the heuristics that there will be some, and how they are aligned.
  const auto* some = reinterpret_cast<const void*>(uintptr_t{64});
  if (s.scaled) set(desc_, lt::desc::a_scale, some), set(desc_, lt::desc::b_scale, some);
  if (s.epilogue != lt::epilogue::none) set<int32_t>(desc_, lt::desc::epilogue, s.epilogue);
  if (s.has_aux) set(desc_, lt::desc::aux, some), set<int64_t>(desc_, lt::desc::aux_ld, s.d_step);
  if (s.biased) {
    set<int32_t>(desc_, lt::desc::bias_type, s.d);
    set(desc_, lt::desc::bias, some);
  }
}

Matmul::~Matmul() {
  const auto& lib = lt::library();
  if (desc_) lib.MatmulDescDestroy(desc_);
  for (lt::Layout layout : {a_, b_, d_})
    if (layout) lib.MatrixLayoutDestroy(layout);
}

std::vector<lt::Algo> Matmul::recommended(int wanted) const {
  const auto& lib = lt::library();
  lt::Preference preference = nullptr;
  ok(lib.MatmulPreferenceCreate(&preference), "preference");
  const auto prefer = [&](int attribute, auto value) {
    ok(lib.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), "preference");
  };
  prefer(lt::preference::workspace, uint64_t{resources().bytes});
  // Where the depth is split, parts are added in float32, so that results are rounded once.
  prefer(lt::preference::reduction, lt::reduction::compute_type);
  prefer(lt::preference::alignment_a, static_cast<uint32_t>(shape_.a_alignment));
  prefer(lt::preference::alignment_b, static_cast<uint32_t>(shape_.b_alignment));
  prefer(lt::preference::alignment_c, static_cast<uint32_t>(shape_.d_alignment));
  prefer(lt::preference::alignment_d, static_cast<uint32_t>(shape_.d_alignment));
  std::vector<lt::Heuristic> found(static_cast<size_t>(wanted));
  int count = 0;
  const int status =
      lib.MatmulAlgoGetHeuristic(resources().handle, desc_, a_, b_, d_, d_, preference, wanted, found.data(), &count);
  lib.MatmulPreferenceDestroy(preference);
  std::vector<lt::Algo> algos;
  for (int i = 0; status == lt::kSuccess && i < count; ++i)
    if (found[static_cast<size_t>(i)].state == lt::kSuccess) algos.push_back(found[static_cast<size_t>(i)].algo);
  return algos;
}

bool Matmul::accepts(const lt::Algo& algo) const {
  lt::Heuristic result{};
  return lt::library().MatmulAlgoCheck(resources().handle, desc_, a_, b_, d_, d_, &algo, &result) == lt::kSuccess &&
         result.workspace <= resources().bytes;
}

void Matmul::run(const MatmulCall& call, const lt::Algo& algo) {
  const float one = 1, zero = 0;
  if (shape_.scaled) {
    set(desc_, lt::desc::a_scale, static_cast<const void*>(call.a_scale));
    set(desc_, lt::desc::b_scale, static_cast<const void*>(call.b_scale));
  }
  if (shape_.biased) set(desc_, lt::desc::bias, call.bias);
  if (shape_.has_aux) set(desc_, lt::desc::aux, static_cast<const void*>(call.aux));
  const Resources& r = resources();
  ok(lt::library().Matmul(r.handle, desc_, &one, call.a, a_, call.b, b_, &zero, call.d, d_, call.d, d_, &algo,
                          r.workspace, r.bytes, stream()),
     "matmul");
}

}  // namespace te::cuda
