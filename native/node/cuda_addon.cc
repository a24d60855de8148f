// te_cuda.node: the functions of every device, on a GPU. The CUDA runtime is linked statically and opens the driver by
// itself: without a driver or a GPU every call answers with an error code, and loading this file is harmless.
#include <cuda_runtime_api.h>

#include <chrono>
#include <thread>

#include "core/replay.h"
#include "cuda/device.h"
#include "cuda/gemm/cublaslt.h"
#include "cuda/gemm/settings.h"
#include "cuda/nccl/communicators.h"
#include "cuda/nccl/seat.h"
#include "node/arguments.h"
#include "node/functions.h"
#include "te/queue.h"
#include "te/settings.h"
#include "te/world.h"

namespace te {
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Why no GPU can be used, where CUDA finds none.
std::string reason_without(int driver, cudaError_t status) {
  if (driver == 0) return "there is no NVIDIA driver on this machine";
  if (status == cudaErrorInsufficientDriver)
    return "the NVIDIA driver is for CUDA " + version_text(driver) + ", and the kernels need one for CUDA " +
           version_text(CUDART_VERSION / 1000 * 1000) + " or newer";
  return status == cudaSuccess ? "the driver shows no usable GPU" : cudaGetErrorString(status);
}

napi_value describe_gpu(napi_env env, const cudaDeviceProp& properties, int ordinal) {
  napi_value device = js_object(env);
  set(env, device, "ordinal", js_integer(env, ordinal));
  set(env, device, "name", js_text(env, properties.name));
  set(env, device, "computeCapability",
      js_text(env, std::to_string(properties.major) + "." + std::to_string(properties.minor)));
  set(env, device, "memoryBytes", js_number(env, static_cast<double>(properties.totalGlobalMem)));
  if (const std::string reason = cuda::reason_against(properties); !reason.empty())
    set(env, device, "reason", js_text(env, reason));
  return device;
}

// {available, reason, devices: {ordinal, name, computeCapability, memoryBytes, reason}[]}
napi_value cuda_available(napi_env env, napi_callback_info) {
  int count = 0, driver = 0, usable = 0;
  cudaDriverGetVersion(&driver);  // 0: there is none
  const cudaError_t status = cudaGetDeviceCount(&count);
  napi_value devices = js_array(env);
  std::string reason = reason_without(driver, status);
  uint32_t listed = 0;
  for (int i = 0; status == cudaSuccess && i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    push(env, devices, listed++, describe_gpu(env, properties, i));
    const std::string against = cuda::reason_against(properties);
    against.empty() ? void(++usable) : void(reason = against);
  }
  cudaGetLastError();  // the answer above is the whole of it; later calls start clean
  napi_value result = js_object(env);
  set(env, result, "available", js_boolean(env, usable > 0));
  if (usable == 0) set(env, result, "reason", js_text(env, reason));
  set(env, result, "devices", devices);
  return result;
}

// open(ordinal): gives this environment the functions of the GPU.
napi_value open(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  napi_value functions = js_object(env);
  open_addon(env, functions, cuda::cuda_device(a.integer(0)));
  return functions;
}

// {cublasLt?, cublasLtReason?, problems}: what multiplies matrices, and what was wrong with settings.
napi_value describe(napi_env env, napi_callback_info) {
  napi_value result = js_object(env);
  const auto& library = cuda::lt::library();
  if (library.reason.empty())
    set(env, result, "cublasLt", js_text(env, library.version));
  else
    set(env, result, "cublasLtReason", js_text(env, library.reason));
  cuda::product_settings();  // notes what is wrong with its own
  set(env, result, "problems", js_texts(env, problems()));
  return result;
}

// {replayed, executed}: parts of programs, of this process.
napi_value replays(napi_env env, napi_callback_info) {
  napi_value result = js_object(env);
  set(env, result, "replayed", js_number(env, static_cast<double>(Replays::replayed)));
  set(env, result, "executed", js_number(env, static_cast<double>(Replays::executed)));
  return result;
}

// joinWorld({ordinal, rank, size, coordinator, library}): takes a seat for a GPU, and blocks until all have theirs. A
// rank below 0: as mpirun says. Returns who this process is.
napi_value join(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  const Js given(env, a.value[0]);
  const auto number = [&](const char* name) { return static_cast<int>(given.get(name).integer(name)); };
  const auto text = [&](const char* name) { return given.get(name).text(name); };
  cuda::Seat seat{number("rank"), number("size"), text("coordinator"), collective_timeout()};
  if (seat.rank < 0) seat = cuda::seat_by_mpi(seat.timeout);
  if (seat.size > 1) cuda::join_over_nccl(seat, text("library"), cuda::cuda_context(number("ordinal")));
  napi_value result = js_object(env);
  set(env, result, "rank", js_integer(env, seat.rank));
  set(env, result, "size", js_integer(env, seat.size));
  return result;
}

// {all_reduce: bytes, …}: what this process has sent to others, by kind of collective.
napi_value sent(napi_env env, napi_callback_info) {
  napi_value result = js_object(env);
  for (const auto& [kind, bytes] : cuda::bytes_over_nccl())
    set(env, result, kind.c_str(), js_number(env, static_cast<double>(bytes)));
  return result;
}

// leaveWorld(ordinal, code): after an error (not 0) lets the others end too, otherwise blocks until the work of the GPU
// is done and all processes have come here.
napi_value leave(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  const int32_t code = a.integer(1);
  if (code != 0) {
    cuda::desert();
    abort_world(code);
    return nullptr;
  }
  Device& device = cuda::cuda_device(a.integer(0));
  const std::shared_ptr<Queue> queue = Queue::acquire(device);
  while (!queue->idle()) std::this_thread::sleep_for(std::chrono::microseconds(100));
  device.finish();
  cuda::leave();
  leave_world();
  return nullptr;
}

void init(napi_env env, napi_value exports) {
  add_function<cuda_available>(env, exports, "cudaAvailable");
  add_function<open>(env, exports, "open");
  add_function<describe>(env, exports, "info");
  add_function<replays>(env, exports, "replays");
  add_function<join>(env, exports, "joinWorld");
  add_function<sent>(env, exports, "sentBytes");
  add_function<leave>(env, exports, "leaveWorld");
}

}  // namespace
}  // namespace te

NAPI_MODULE_INIT() {
  te::guard(env, [&] { te::init(env, exports); });
  return exports;
}
