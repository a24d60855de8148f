// cuBLASLt without a GPU: column-major products in float32 of float32, bfloat16, float16 and FP8 operands, with scales
// and epilogues, and with the rules that NVIDIA's page has: which dtypes go together, what FP8 asks for on compute
// capability 9.0, and that pointers are aligned as the heuristics were told. Built as a library of its own that the
// backend opens as it opens NVIDIA's.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime_api.h>
#include <library_types.h>

#include <chrono>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <thread>
#include <vector>

namespace {

constexpr int kSuccess = 0, kInvalid = 7, kExecutionFailed = 13, kNotSupported = 15;

struct Desc {
  int compute, scale;
  std::map<int, std::vector<char>> attributes;
  template <class T>
  T get(int attribute, T fallback) const {
    const auto found = attributes.find(attribute);
    if (found == attributes.end() || found->second.size() < sizeof(T)) return fallback;
    T value;
    std::memcpy(&value, found->second.data(), sizeof(T));
    return value;
  }
};
struct Layout {
  cudaDataType_t type;
  uint64_t rows, columns;
  int64_t ld;
  int32_t batches = 1;
  int64_t stride = 0;
};

size_t bytes_of(cudaDataType_t t) { return t == CUDA_R_32F ? 4 : t == CUDA_R_16BF || t == CUDA_R_16F ? 2 : 1; }
bool is_fp8(cudaDataType_t t) { return t == CUDA_R_8F_E4M3 || t == CUDA_R_8F_E5M2; }

float load(const void* p, cudaDataType_t t, size_t i) {
  switch (t) {
    case CUDA_R_32F:
      return static_cast<const float*>(p)[i];
    case CUDA_R_16BF:
      return __bfloat162float(static_cast<const __nv_bfloat16*>(p)[i]);
    case CUDA_R_16F:
      return __half2float(static_cast<const __half*>(p)[i]);
    case CUDA_R_8F_E4M3:
      return static_cast<float>(static_cast<const __nv_fp8_e4m3*>(p)[i]);
    default:
      return static_cast<float>(static_cast<const __nv_fp8_e5m2*>(p)[i]);
  }
}
// To 10 bits of mantissa, ties to even.
float tf32(float x) {
  if (!std::isfinite(x)) return x;
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  bits += 0xfff + (bits >> 13 & 1);
  bits &= ~uint32_t{0x1fff};
  std::memcpy(&x, &bits, 4);
  return x;
}
void store(void* p, cudaDataType_t t, size_t i, float x) {
  switch (t) {
    case CUDA_R_32F:
      static_cast<float*>(p)[i] = x;
      break;
    case CUDA_R_16BF:
      static_cast<__nv_bfloat16*>(p)[i] = __float2bfloat16_rn(x);
      break;
    case CUDA_R_16F:
      static_cast<__half*>(p)[i] = __float2half_rn(x);
      break;
    case CUDA_R_8F_E4M3:
      static_cast<__nv_fp8_e4m3*>(p)[i] = __nv_fp8_e4m3(x);
      break;
    default:
      static_cast<__nv_fp8_e5m2*>(p)[i] = __nv_fp8_e5m2(x);
  }
}

float gelu(float x) { return 0.5f * x * (1 + std::tanh(0.7978845608f * (x + 0.044715f * x * x * x))); }
float gelu_slope(float x) {
  const float t = std::tanh(0.7978845608f * (x + 0.044715f * x * x * x));
  return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * 0.7978845608f * (1 + 3 * 0.044715f * x * x);
}

struct Problem {
  Desc desc;
  Layout a, b, c, d;
  int64_t m, n, k;
  bool ta, tb;
};

// How many sums an epilogue writes where the bias would be.
size_t gradient_size(const Problem& p) {
  const int epilogue = p.desc.get<int>(7, 1);
  return static_cast<size_t>(epilogue == 208 || epilogue == 256 ? p.m : epilogue == 512 ? p.n : 0);
}

bool is_half(cudaDataType_t t) { return t == CUDA_R_16BF || t == CUDA_R_16F; }

// The tables of dtypes on the page of cublasLtMatmul, for results that are not FP8.
bool types_go_together(const Desc& desc, cudaDataType_t a, cudaDataType_t b, cudaDataType_t d) {
  if (is_fp8(a) != is_fp8(b) || (!is_fp8(a) && a != b)) return false;
  if (a == CUDA_R_8F_E5M2 && b == CUDA_R_8F_E5M2) return false;
  if (desc.compute != 68 && (desc.compute != 77 || a != CUDA_R_32F)) return false;
  if (d != CUDA_R_32F && !(is_fp8(a) ? is_half(d) : d == a)) return false;
  const int epilogue = desc.get<int>(7, 1);
  if (epilogue == 1) return true;
  if (is_fp8(a) && (d == CUDA_R_32F || epilogue == 256 || epilogue == 512)) return false;
  const int bias = desc.get<int>(26, -1);
  return bias == -1 || bias == static_cast<int>(d);
}

// What FP8 asks for: "TN", and sizes and steps of 16 bytes.
bool suits_fp8(const Problem& p) {
  if (!p.ta || p.tb || p.m % 16 || p.n % 16 || p.k % 16) return false;
  return p.a.ld % 16 == 0 && p.b.ld % 16 == 0 && p.d.ld * static_cast<int64_t>(bytes_of(p.d.type)) % 16 == 0;
}

int plan(const Desc& desc, const Layout& a, const Layout& b, const Layout& c, const Layout& d, Problem* p) {
  p->desc = desc, p->a = a, p->b = b, p->c = c, p->d = d;
  p->ta = desc.get<int>(3, 0) == 1, p->tb = desc.get<int>(4, 0) == 1;
  p->m = static_cast<int64_t>(p->ta ? a.columns : a.rows), p->k = static_cast<int64_t>(p->ta ? a.rows : a.columns);
  p->n = static_cast<int64_t>(p->tb ? b.rows : b.columns);
  const int64_t kb = static_cast<int64_t>(p->tb ? b.columns : b.rows);
  if (kb != p->k || static_cast<int64_t>(d.rows) != p->m || static_cast<int64_t>(d.columns) != p->n) return kInvalid;
  if (a.ld < static_cast<int64_t>(a.rows) || b.ld < static_cast<int64_t>(b.rows) || d.ld < p->m) return kInvalid;
  if (p->m < 1 || p->n < 1 || p->k < 1) return kInvalid;
  if (a.batches != b.batches || a.batches != d.batches) return kInvalid;
  if (desc.get<const void*>(17, nullptr) && !is_fp8(a.type)) return kInvalid;  // scales are for FP8
  if (!types_go_together(desc, a.type, b.type, d.type)) return kNotSupported;
  if (is_fp8(a.type) && !suits_fp8(*p)) return kNotSupported;
  if (const int epilogue = desc.get<int>(7, 1);
      epilogue == 160 || epilogue == 164 || epilogue == 192 || epilogue == 208)
    if (desc.get<int64_t>(12, 0) < p->m || desc.get<int64_t>(12, 0) % 8 || d.batches != 1) return kNotSupported;
  if (gradient_size(*p) > 0 && d.batches != 1) return kNotSupported;
  return kSuccess;
}

// Everything by value: a descriptor may be destroyed once the call is queued. Scales are read when the work runs.
void run(const Problem& p, float alpha, float beta, const char* a, const char* b, const char* c, char* d,
         bool rounds_parts) {
  const auto& desc = p.desc;
  const float* sa = desc.get<const float*>(17, nullptr);
  const float* sb = desc.get<const float*>(18, nullptr);
  const float* sd = desc.get<const float*>(20, nullptr);
  float* amax = desc.get<float*>(21, nullptr);
  const int epilogue = desc.get<int>(7, 1);
  const void* bias = desc.get<const void*>(8, nullptr);
  const auto bias_type = static_cast<cudaDataType_t>(desc.get<int>(26, p.d.type));
  char* aux = desc.get<char*>(11, nullptr);
  const int64_t aux_ld = desc.get<int64_t>(12, 0);
  const float scale = alpha * (is_fp8(p.a.type) ? (sa ? *sa : 1) * (sb ? *sb : 1) : 1);
  const auto rounded = [&](float x) { return desc.compute == 77 ? tf32(x) : x; };
  float highest = 0;
  std::vector<float> column(static_cast<size_t>(p.k)), gradient(gradient_size(p));
  for (int batch = 0; batch < p.d.batches; ++batch) {
    const char* ab = a + batch * p.a.stride * static_cast<int64_t>(bytes_of(p.a.type));
    const char* bb = b + batch * p.b.stride * static_cast<int64_t>(bytes_of(p.b.type));
    char* db = d + batch * p.d.stride * static_cast<int64_t>(bytes_of(p.d.type));
    std::vector<float> left(static_cast<size_t>(p.m * p.k));
    for (int64_t i = 0; i < p.m; ++i)
      for (int64_t l = 0; l < p.k; ++l)
        left[static_cast<size_t>(i * p.k + l)] =
            rounded(load(ab, p.a.type, static_cast<size_t>(p.ta ? i * p.a.ld + l : l * p.a.ld + i)));
    if (epilogue == 256)
      for (int64_t i = 0; i < p.m; ++i)
        for (int64_t l = 0; l < p.k; ++l) gradient[static_cast<size_t>(i)] += left[static_cast<size_t>(i * p.k + l)];
    for (int64_t j = 0; j < p.n; ++j) {
      for (int64_t l = 0; l < p.k; ++l)
        column[static_cast<size_t>(l)] =
            rounded(load(bb, p.b.type, static_cast<size_t>(p.tb ? l * p.b.ld + j : j * p.b.ld + l)));
      if (epilogue == 512)
        for (const float x : column) gradient[static_cast<size_t>(j)] += x;
      for (int64_t i = 0; i < p.m; ++i) {
        const float* x = &left[static_cast<size_t>(i * p.k)];
        float part[8] = {};
        int64_t l = 0;
        for (; l + 8 <= p.k; l += 8)
          for (int u = 0; u < 8; ++u) part[u] += x[l + u] * column[static_cast<size_t>(l + u)];
        if (rounds_parts)
          for (float& x : part) store(&x, p.d.type, 0, x), x = load(&x, p.d.type, 0);
        float sum = part[0] + part[1] + part[2] + part[3] + part[4] + part[5] + part[6] + part[7];
        for (; l < p.k; ++l) sum += x[l] * column[static_cast<size_t>(l)];
        float y = sum * scale;
        if (beta != 0) y += beta * load(c, p.c.type, static_cast<size_t>(j * p.c.ld + i));
        if ((epilogue & 4) && bias) y += load(bias, bias_type, static_cast<size_t>(i));
        if (epilogue == 160 || epilogue == 164) store(aux, p.d.type, static_cast<size_t>(j * aux_ld + i), y);
        if (epilogue == 160 || epilogue == 164 || epilogue == 32 || epilogue == 36) y = gelu(y);
        if (epilogue == 2 || epilogue == 6) y = y < 0 ? 0 : y;
        if (epilogue == 192 || epilogue == 208)
          y *= gelu_slope(load(aux, p.d.type, static_cast<size_t>(j * aux_ld + i)));
        if (epilogue == 208) gradient[static_cast<size_t>(i)] += y;
        highest = std::fmax(highest, std::fabs(y));
        if (sd && is_fp8(p.d.type)) y *= *sd;
        store(db, p.d.type, static_cast<size_t>(j * p.d.ld + i), y);
      }
    }
  }
  if (bias)
    for (size_t i = 0; i < gradient.size(); ++i) store(const_cast<void*>(bias), bias_type, i, gradient[i]);
  if (amax) *amax = highest;
}

struct Queued {
  Problem problem;
  float alpha, beta;
  const char *a, *b, *c;
  char* d;
  uint64_t algo;
  bool rounds_parts;
};

}  // namespace

// Of the runtime: queues host work that may touch device memory.
extern "C" cudaError_t te_emu_queue_library_work(cudaStream_t, void (*)(void*), void (*release)(void*), void*);
extern "C" bool te_emu_inside(const void*, size_t);
extern "C" void te_emu_written(void*, size_t);

namespace {
size_t extent(const Layout& l) {  // bytes from the first element to behind the last
  const auto last =
      static_cast<size_t>((l.batches - 1) * l.stride + (static_cast<int64_t>(l.columns) - 1) * l.ld) + l.rows;
  return last * bytes_of(l.type);
}
void run_queued(void* q) {
  const auto& w = *static_cast<Queued*>(q);
  const Problem& p = w.problem;
  if (!te_emu_inside(w.a, extent(p.a)) || !te_emu_inside(w.b, extent(p.b)) || !te_emu_inside(w.d, extent(p.d))) {
    std::fprintf(stderr, "te emulator: cublasLtMatmul: a matrix leaves its allocation\n");
    std::abort();
  }
  if (w.algo != 2 && std::getenv("TE_EMU_CUBLASLT_LOG")) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  run(p, w.alpha, w.beta, w.a, w.b, w.c, w.d, w.rounds_parts);
  te_emu_written(w.d, extent(p.d));
  if (float* amax = p.desc.get<float*>(21, nullptr)) te_emu_written(amax, 4);
  const int epilogue = p.desc.get<int>(7, 1);
  if (epilogue == 160 || epilogue == 164)
    te_emu_written(p.desc.get<void*>(11, nullptr),
                   static_cast<size_t>(p.desc.get<int64_t>(12, 0) * p.n) * bytes_of(p.d.type));
  if (const size_t size = gradient_size(p)) te_emu_written(p.desc.get<void*>(8, nullptr), size * bytes_of(p.d.type));
}
}  // namespace

#define TE_API extern "C" __attribute__((visibility("default"))) int

extern "C" __attribute__((visibility("default"))) size_t cublasLtGetVersion() { return 130100; }
TE_API cublasLtCreate(void** handle) { return *handle = new int(0), kSuccess; }
TE_API cublasLtDestroy(void* handle) { return delete static_cast<int*>(handle), kSuccess; }
TE_API cublasLtMatmulDescCreate(Desc** desc, int compute, cudaDataType_t scale) {
  return *desc = new Desc{compute, scale, {}}, kSuccess;
}
TE_API cublasLtMatmulDescDestroy(Desc* desc) { return delete desc, kSuccess; }
TE_API cublasLtMatmulDescSetAttribute(Desc* desc, int attribute, const void* value, size_t bytes) {
  const size_t want = attribute == 8 || attribute == 11 || attribute == 12 || (attribute >= 17 && attribute <= 21) ? 8
                      : attribute == 25                                                                            ? 1
                                                                                                                   : 4;
  if (bytes != want) return kInvalid;
  const char* p = static_cast<const char*>(value);
  desc->attributes[attribute].assign(p, p + bytes);
  return kSuccess;
}
TE_API cublasLtMatrixLayoutCreate(Layout** layout, cudaDataType_t type, uint64_t rows, uint64_t columns, int64_t ld) {
  return *layout = new Layout{type, rows, columns, ld}, kSuccess;
}
TE_API cublasLtMatrixLayoutDestroy(Layout* layout) { return delete layout, kSuccess; }
TE_API cublasLtMatrixLayoutSetAttribute(Layout* layout, int attribute, const void* value, size_t bytes) {
  if (attribute == 5 && bytes == 4) return std::memcpy(&layout->batches, value, 4), kSuccess;
  if (attribute == 6 && bytes == 8) return std::memcpy(&layout->stride, value, 8), kSuccess;
  return kInvalid;
}
struct Preference {
  uint64_t workspace = 0;
  uint32_t reduction = 7;                        // how a split depth may be added up: 4 is in the dtype of d
  uint32_t alignment[4] = {256, 256, 256, 256};  // of a, b, c, d
};
TE_API cublasLtMatmulPreferenceCreate(Preference** p) { return *p = new Preference, kSuccess; }
TE_API cublasLtMatmulPreferenceDestroy(Preference* p) { return delete p, kSuccess; }
TE_API cublasLtMatmulPreferenceSetAttribute(Preference* p, int attribute, const void* value, size_t bytes) {
  if (attribute == 1 && bytes == 8) return std::memcpy(&p->workspace, value, 8), kSuccess;
  if (attribute == 3 && bytes == 4) return std::memcpy(&p->reduction, value, 4), kSuccess;
  if (attribute < 5 || attribute > 8 || bytes != 4) return kInvalid;
  return std::memcpy(&p->alignment[attribute - 5], value, 4), kSuccess;
}

// An algorithm: a mark, its number, the problem's sizes, the alignments that it counts on, and its workspace.
struct Algo {
  uint64_t mark, number;
  int32_t m, n, k, batches;
  uint32_t alignment[4];
  uint64_t workspace, rounds_parts;
};
struct Result {
  Algo algo;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Algo) == 64);
constexpr uint64_t kMark = 0x7e;

// TE_EMU_CUBLASLT_LOG: a file that gets a line for each call, for tests.
static void note(const char* what, const Problem& p, uint64_t number) {
  const char* path = std::getenv("TE_EMU_CUBLASLT_LOG");
  if (!path) return;
  if (FILE* file = std::fopen(path, "a")) {
    std::fprintf(file, "%s %lldx%lldx%lld batches=%d algo=%llu fast=%d tf32=%d epilogue=%d\n", what,
                 static_cast<long long>(p.m), static_cast<long long>(p.n), static_cast<long long>(p.k), p.d.batches,
                 static_cast<unsigned long long>(number), p.desc.get<int8_t>(25, 0), p.desc.compute == 77,
                 p.desc.get<int>(7, 1));
    std::fclose(file);
  }
}
static bool fits(const Algo& algo, const Problem& p) {
  return algo.mark == kMark && algo.number < 4 && algo.m == p.m && algo.n == p.n && algo.k == p.k &&
         algo.batches == p.d.batches;
}

// Four algorithms, the third of which is the fastest; the second takes all of the workspace.
TE_API cublasLtMatmulAlgoGetHeuristic(void*, Desc* desc, Layout* a, Layout* b, Layout* c, Layout* d,
                                      Preference* preference, int wanted, Result* results, int* found) {
  Problem p;
  *found = 0;
  const int status = plan(*desc, *a, *b, *c, *d, &p);
  if (status != kSuccess || wanted < 1) return status == kSuccess ? kInvalid : status;
  for (uint32_t alignment : preference->alignment)
    if (is_fp8(a->type) && alignment % 16) return kNotSupported;
  for (; *found < wanted && *found < 4; ++*found) {
    Result& r = results[*found];
    r = {};
    r.workspace = *found == 1 ? preference->workspace : 0;
    r.algo = {kMark,
              static_cast<uint64_t>(*found),
              static_cast<int32_t>(p.m),
              static_cast<int32_t>(p.n),
              static_cast<int32_t>(p.k),
              p.d.batches,
              {},
              r.workspace,
              preference->reduction & 4};
    std::memcpy(r.algo.alignment, preference->alignment, sizeof r.algo.alignment);
  }
  note("heuristic", p, 0);
  return kSuccess;
}
TE_API cublasLtMatmulAlgoCheck(void*, Desc* desc, Layout* a, Layout* b, Layout* c, Layout* d, const Algo* algo,
                               Result* result) {
  Problem p;
  if (const int status = plan(*desc, *a, *b, *c, *d, &p); status != kSuccess) return status;
  if (!fits(*algo, p)) return kInvalid;
  result->workspace = algo->workspace;
  return kSuccess;
}
TE_API cublasLtMatmul(void*, Desc* desc, const void* alpha, const void* a, Layout* la, const void* b, Layout* lb,
                      const void* beta, const void* c, Layout* lc, void* d, Layout* ld, const Algo* algo,
                      void* workspace, size_t workspace_bytes, cudaStream_t stream) {
  Problem p;
  if (const int status = plan(*desc, *la, *lb, *lc, *ld, &p); status != kSuccess) return status;
  if (!algo || !fits(*algo, p)) return kInvalid;  // not of the heuristic, or for another problem
  if (algo->workspace > workspace_bytes || (algo->workspace > 0 && !te_emu_inside(workspace, algo->workspace)))
    return kInvalid;
  const void* const pointers[] = {a, b, c, d};
  for (int i = 0; i < 4; ++i)
    if (reinterpret_cast<uintptr_t>(pointers[i]) % algo->alignment[i]) return kInvalid;
  note("matmul", p, algo->number);
  auto* work = new Queued{p,
                          *static_cast<const float*>(alpha),
                          *static_cast<const float*>(beta),
                          static_cast<const char*>(a),
                          static_cast<const char*>(b),
                          static_cast<const char*>(c),
                          static_cast<char*>(d),
                          algo->number,
                          algo->rounds_parts != 0};
  return te_emu_queue_library_work(
             stream, run_queued, [](void* q) { delete static_cast<Queued*>(q); }, work) == cudaSuccess
             ? kSuccess
             : kExecutionFailed;
}
