// What the emulated runtime and cuBLASLt notice: each mistake below works on a CPU that only copies and calls.
#include <cuda_bf16.h>
#include <cuda_fp8.h>
#include <cuda_runtime_api.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cuda/device.h"
#include "cuda/gemm/cublaslt.h"
#include "cuda/registration.h"
#include "emulator/fiber.h"

using namespace te;
int failed = 0;
void expect(bool ok, const char* what) {
  if (ok) return;
  std::printf("FAILED %s\n", what);
  ++failed;
}
template <class T>
T* device(size_t n) {
  void* p = nullptr;
  cuda::check(cudaMalloc(&p, n * sizeof(T)), "cudaMalloc");
  return static_cast<T*>(p);
}
template <class F>
int child(F f) {  // the signal that ends f, or 0
  std::fflush(stdout);
  const pid_t pid = fork();
  if (pid == 0) {
    f();
    _exit(0);
  }
  int status;
  waitpid(pid, &status, 0);
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

void streams_and_graphs() {
  cudaStream_t a, b;
  cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
  float *host, *back;  // pinned
  cudaMallocHost(reinterpret_cast<void**>(&host), 4096);
  cudaMallocHost(reinterpret_cast<void**>(&back), 4096);
  for (int i = 0; i < 1024; ++i) host[i] = 1, back[i] = 0;
  float *x = device<float>(1024), *y = device<float>(1024);

  expect(child([&] { x[0] = 1; }) == SIGSEGV, "the host writes through a device pointer: it is stopped");

  int late = 0;
  for (int seed = 0; seed < 20; ++seed) {  // the copy back is on another stream and waits for nothing
    emu::set_seed(seed);
    cudaMemsetAsync(x, 0, 4096, a);
    cudaStreamSynchronize(a);
    cudaMemcpyAsync(x, host, 4096, cudaMemcpyHostToDevice, a);
    cudaMemcpyAsync(back, x, 4096, cudaMemcpyDeviceToHost, b);
    cudaDeviceSynchronize();
    late += back[5] != 1.0f;
  }
  expect(late > 0, "a read on another stream without an event comes too early in some orders");
  cudaEvent_t e;
  cudaEventCreateWithFlags(&e, cudaEventDisableTiming);
  late = 0;
  for (int seed = 0; seed < 20; ++seed) {
    emu::set_seed(seed);
    cudaMemsetAsync(x, 0, 4096, a);
    cudaStreamSynchronize(a);
    cudaMemcpyAsync(x, host, 4096, cudaMemcpyHostToDevice, a);
    cudaEventRecord(e, a);
    cudaStreamWaitEvent(b, e, 0);
    cudaMemcpyAsync(back, x, 4096, cudaMemcpyDeviceToHost, b);
    cudaDeviceSynchronize();
    late += back[5] != 1.0f;
  }
  expect(late == 0, "with an event it never does");

  back[7] = -1;
  cudaMemcpyAsync(back, x, 4096, cudaMemcpyDeviceToHost, a);
  bool early = back[7] == -1;
  for (int i = 0; i < 20 && !early; ++i) {
    cudaStreamSynchronize(a);
    back[7] = -1;
    cudaMemcpyAsync(back, x, 4096, cudaMemcpyDeviceToHost, a);
    early = back[7] == -1;
  }
  cudaStreamSynchronize(a);
  expect(early && back[7] == 1, "an asynchronous copy is not done before the stream was waited for");

  cudaGraph_t graph;
  cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal);
  cudaMemcpyAsync(y, x, 4096, cudaMemcpyDeviceToDevice, a);
  void* never;
  expect(cudaMalloc(&never, 64) == cudaErrorStreamCaptureUnsupported, "cudaMalloc during a capture is refused");
  expect(cudaStreamEndCapture(a, &graph) == cudaErrorStreamCaptureInvalidated, "and the capture is void");
  cudaGetLastError();

  cudaStreamBeginCapture(a, cudaStreamCaptureModeGlobal);
  cudaMemcpyAsync(y, x, 4096, cudaMemcpyDeviceToDevice, a);
  cudaStreamEndCapture(a, &graph);
  cudaGraphExec_t exec;
  cudaGraphInstantiate(&exec, graph, 0);
  cudaMemset(y, 0, 4096);
  cudaGraphLaunch(exec, a);
  cudaStreamSynchronize(a);
  cudaMemcpy(back, y, 4096, cudaMemcpyDeviceToHost);
  expect(back[9] == 1, "a captured graph replays");
  cudaFree(x);
  cudaGraphLaunch(exec, a);
  cudaStreamSynchronize(a);
  expect(cudaGetLastError() == cudaErrorIllegalAddress, "a graph that holds the pointer of freed memory fails");
}

// A branch of a graph: its work is between the fork and the join, in every order of the streams.
void forks() {
  cudaStream_t a, b;
  cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
  cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
  cudaEvent_t fork, join, outside;
  for (cudaEvent_t* e : {&fork, &join, &outside}) cudaEventCreateWithFlags(e, cudaEventDisableTiming);
  uint8_t *x = device<uint8_t>(64), *y = device<uint8_t>(64), *z = device<uint8_t>(64), back[64];
  cudaGraph_t graph;
  // x = 5 on a; y = x on b; z = y on a. `waits`: whether a waits for b; else the capture ends before.
  const auto capture = [&](bool waits) {
    cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal);
    cudaMemsetAsync(x, 5, 64, a);
    cudaEventRecord(fork, a);
    cudaStreamWaitEvent(b, fork, 0);
    cudaMemcpyAsync(y, x, 64, cudaMemcpyDeviceToDevice, b);
    cudaEventRecord(join, b);
    if (waits) cudaStreamWaitEvent(a, join, 0);
    if (waits) cudaMemcpyAsync(z, y, 64, cudaMemcpyDeviceToDevice, a);
    return cudaStreamEndCapture(a, &graph);
  };
  expect(capture(false) == cudaErrorStreamCaptureUnjoined, "a branch that is not joined voids the capture");
  cudaStreamCaptureStatus status;
  cudaStreamIsCapturing(b, &status);
  expect(status == cudaStreamCaptureStatusNone, "and its stream captures no more");
  expect(capture(true) == cudaSuccess, "a branch that is joined is captured");
  expect(cudaEventQuery(join) == cudaErrorCapturedEvent, "the event of a capture cannot be asked");
  expect(cudaStreamWaitEvent(b, join, 0) == cudaErrorCapturedEvent, "nor waited for");
  cudaGetLastError();
  cudaGraphExec_t exec;
  cudaGraphInstantiate(&exec, graph, 0);
  int wrong = 0;
  for (int seed = 0; seed < 40; ++seed) {
    emu::set_seed(seed);
    for (uint8_t* p : {x, y, z}) cudaMemsetAsync(p, 0, 64, a);
    cudaGraphLaunch(exec, a);
    cudaMemsetAsync(x, 0, 64, a);  // behind the branch, which reads it
    cudaStreamSynchronize(a);
    cudaMemcpy(back, z, 64, cudaMemcpyDeviceToHost);
    wrong += back[9] != 5;
  }
  expect(wrong == 0, "a graph with a branch gives the same in every order");
  cudaGraphExecDestroy(exec);

  cudaEventRecord(outside, b);
  cudaStreamBeginCapture(a, cudaStreamCaptureModeThreadLocal);
  expect(cudaStreamWaitEvent(a, outside, 0) == cudaErrorStreamCaptureIsolation, "a capture waits for nothing outside");
  expect(cudaStreamEndCapture(a, &graph) == cudaErrorStreamCaptureInvalidated, "or it is void");
  cudaGetLastError();
}

int matmul(cudaDataType_t ta, cudaDataType_t tb, cudaDataType_t td, bool transpose_a, bool transpose_b, int m, int n,
           int k, const void* a, const void* b, void* d, const float* sa, const float* sb, int epilogue = 1,
           void* bias = nullptr) {
  const auto& lt = cuda::lt::library();
  cuda::lt::Handle handle;
  lt.Create(&handle);
  cuda::lt::Desc desc;
  lt.MatmulDescCreate(&desc, cuda::lt::kCompute32F, CUDA_R_32F);
  const int opa = transpose_a, opb = transpose_b;
  lt.MatmulDescSetAttribute(desc, cuda::lt::desc::transa, &opa, 4);
  lt.MatmulDescSetAttribute(desc, cuda::lt::desc::transb, &opb, 4);
  lt.MatmulDescSetAttribute(desc, cuda::lt::desc::epilogue, &epilogue, 4);
  if (sa) lt.MatmulDescSetAttribute(desc, cuda::lt::desc::a_scale, &sa, 8);
  if (sb) lt.MatmulDescSetAttribute(desc, cuda::lt::desc::b_scale, &sb, 8);
  if (bias) lt.MatmulDescSetAttribute(desc, cuda::lt::desc::bias, &bias, 8);
  cuda::lt::Layout la, lb, ld;
  lt.MatrixLayoutCreate(&la, ta, transpose_a ? k : m, transpose_a ? m : k, transpose_a ? k : m);
  lt.MatrixLayoutCreate(&lb, tb, transpose_b ? n : k, transpose_b ? k : n, transpose_b ? n : k);
  lt.MatrixLayoutCreate(&ld, td, m, n, m);
  cuda::lt::Preference preference;
  lt.MatmulPreferenceCreate(&preference);
  const uint32_t reduction = cuda::lt::reduction::compute_type;  // or parts of a sum may be rounded to the dtype of d
  lt.MatmulPreferenceSetAttribute(preference, cuda::lt::preference::reduction, &reduction, sizeof reduction);
  cuda::lt::Heuristic heuristic;
  int found = 0;
  int status = lt.MatmulAlgoGetHeuristic(handle, desc, la, lb, ld, ld, preference, 1, &heuristic, &found);
  const float one = 1, zero = 0;
  if (status == 0)
    status =
        lt.Matmul(handle, desc, &one, a, la, b, lb, &zero, d, ld, d, ld, &heuristic.algo, nullptr, 0, cuda::stream());
  lt.MatmulDescDestroy(desc);
  return status;
}

void products() {
  const auto& lt = cuda::lt::library();
  expect(lt.reason.empty(), lt.reason.empty() ? "cuBLASLt opens" : lt.reason.c_str());
  if (!lt.reason.empty()) return;
  const int m = 32, n = 48, k = 64;
  std::vector<__nv_fp8_e4m3> a(m * k), b(n * k);
  for (int i = 0; i < m * k; ++i) a[i] = __nv_fp8_e4m3(std::sin(i * 0.7f) * 3);
  for (int i = 0; i < n * k; ++i) b[i] = __nv_fp8_e4m3(std::cos(i * 0.3f) * 2);
  auto *da = device<__nv_fp8_e4m3>(m * k), *db = device<__nv_fp8_e4m3>(n * k);
  auto* dd = device<__nv_bfloat16>(m * n);
  auto* bias = device<__nv_bfloat16>(m);
  float* scales = device<float>(2);
  const float s[2] = {0.5f, 0.25f};
  std::vector<__nv_bfloat16> hb(m);
  for (int i = 0; i < m; ++i) hb[i] = __nv_bfloat16(float(i));
  cudaMemcpy(da, a.data(), a.size(), cudaMemcpyHostToDevice);
  cudaMemcpy(db, b.data(), b.size(), cudaMemcpyHostToDevice);
  cudaMemcpy(scales, s, 8, cudaMemcpyHostToDevice);
  cudaMemcpy(bias, hb.data(), m * 2, cudaMemcpyHostToDevice);
  expect(matmul(CUDA_R_8F_E4M3, CUDA_R_8F_E4M3, CUDA_R_16BF, true, false, m, n, k, da, db, dd, scales, scales + 1, 4,
                bias) == 0,
         "an FP8 product, TN, with scales and bias");
  std::vector<__nv_bfloat16> d(m * n);
  cuda::check(cudaStreamSynchronize(cuda::stream()), "product");
  cudaMemcpy(d.data(), dd, m * n * 2, cudaMemcpyDeviceToHost);
  double worst = 0;
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j) {
      double want = 0;
      for (int l = 0; l < k; ++l) want += double(float(a[i * k + l])) * float(b[j * k + l]);
      want = want * 0.125 + i;
      worst = std::fmax(worst, std::fabs(float(d[j * m + i]) - want) / (std::fabs(want) * 0.004 + 1e-3));
    }
  expect(worst < 1.01, "has the values of the formula");
  expect(matmul(CUDA_R_8F_E4M3, CUDA_R_8F_E4M3, CUDA_R_16BF, false, false, m, n, k, da, db, dd, scales, scales) == 15,
         "an FP8 product of another layout is not supported");
  expect(matmul(CUDA_R_8F_E5M2, CUDA_R_8F_E5M2, CUDA_R_16BF, true, false, m, n, k, da, db, dd, scales, scales) == 15,
         "nor is float8_e5m2 times float8_e5m2");
  expect(matmul(CUDA_R_8F_E4M3, CUDA_R_8F_E4M3, CUDA_R_16BF, true, false, 24, n, k, da, db, dd, scales, scales) == 15,
         "nor are sizes that 16 does not divide");
}

int main() {
  setenv("TE_EMU_GUARD", "1", 1);  // the host may not touch device memory
  cuda::cuda_device(0).start_thread();
  products();
  forks();
  streams_and_graphs();
  return failed ? 1 : 0;
}
