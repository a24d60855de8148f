// The functions of te_cuda.node. The CUDA runtime is linked statically and opens the driver by itself: without a driver
// or a GPU every call answers with an error code, and loading this file is harmless.
#include <cuda_runtime_api.h>
#include <napi.h>

#include <cstring>

#include "cuda/registration.h"
#include "node/parse.h"

namespace te {
namespace {

// {available, reason, devices: {name, computeCapability, memoryBytes}[]}
Napi::Value cuda_available(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Object result = Napi::Object::New(env);
  Napi::Array devices = Napi::Array::New(env);
  int count = 0, driver = 0;
  cudaDriverGetVersion(&driver);  // 0: there is none
  const cudaError_t status = cudaGetDeviceCount(&count);
  for (int i = 0; status == cudaSuccess && i < count; ++i) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess) continue;
    Napi::Object device = Napi::Object::New(env);
    device.Set("name", properties.name);
    device.Set("computeCapability", std::to_string(properties.major) + "." + std::to_string(properties.minor));
    device.Set("memoryBytes", static_cast<double>(properties.totalGlobalMem));
    devices.Set(devices.Length(), device);
  }
  const bool available = devices.Length() > 0;
  cudaGetLastError();  // the answer above is the whole of it; later calls start clean
  result.Set("available", available);
  if (!available)
    result.Set("reason", driver == 0             ? "there is no NVIDIA driver on this machine"
                         : status == cudaSuccess ? "the driver shows no usable GPU"
                                                 : cudaGetErrorString(status));
  result.Set("devices", devices);
  return result;
}

Napi::Value supports(const Napi::CallbackInfo& info) {
  std::string why;
  if (prepare_kernel(parse_node({info.Env(), info[0]}), &why)) return info.Env().Null();
  return Napi::String::New(info.Env(), why);
}

class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) { cuda::check(cudaMalloc(&data, std::max<size_t>(bytes, 1)), "cudaMalloc"); }
  DeviceMemory(DeviceMemory&& other) noexcept : data(std::exchange(other.data, nullptr)) {}
  ~DeviceMemory() { cudaFree(data); }
  void* data = nullptr;
};

// evaluate(node, inputs: Uint8Array[]): Uint8Array[]: one kernel, with copies both ways; blocks. For tests of kernels.
Napi::Value evaluate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Node node = parse_node({info.Env(), info[0]});
  std::string why;
  const std::unique_ptr<Kernel> kernel = prepare_kernel(node, &why);
  if (!kernel) throw Error("unsupported", node.op + ": " + why);
  const Napi::Array given = info[1].As<Napi::Array>();
  std::vector<DeviceMemory> memory;
  std::vector<const void*> in;
  std::vector<void*> out;
  for (uint32_t i = 0; i < node.inputs.size(); ++i) {
    const size_t bytes = node.inputs[i].bytes();
    const Napi::Uint8Array from = given.Get(i).As<Napi::Uint8Array>();
    if (from.ByteLength() != bytes)
      throw Error("shape", node.op + ": input " + std::to_string(i) + " has another size");
    memory.emplace_back(bytes);
    in.push_back(memory.back().data);
    cuda::check(cudaMemcpy(memory.back().data, from.Data(), bytes, cudaMemcpyHostToDevice), "copy to the GPU");
  }
  for (const Aval& aval : node.outputs) {
    memory.emplace_back(aval.bytes());
    out.push_back(memory.back().data);
  }
  memory.emplace_back(kernel->scratch_bytes());
  kernel->run({in.data(), out.data(), memory.back().data});
  cuda::check(cudaStreamSynchronize(cuda::stream()), node.op.c_str());
  Napi::Array results = Napi::Array::New(env);
  for (uint32_t j = 0; j < node.outputs.size(); ++j) {
    Napi::Uint8Array to = Napi::Uint8Array::New(env, node.outputs[j].bytes());
    cuda::check(cudaMemcpy(to.Data(), out[j], to.ByteLength(), cudaMemcpyDeviceToHost), "copy from the GPU");
    results.Set(j, to);
  }
  return results;
}

template <Napi::Value (*F)(const Napi::CallbackInfo&)>
Napi::Value guarded(const Napi::CallbackInfo& info) {
  try {
    return F(info);
  } catch (const Refused&) {
    throw Napi::Error::New(info.Env());
  } catch (const Error& error) {
    Napi::Error thrown = Napi::Error::New(info.Env(), error.what());
    thrown.Set("code", error.code);
    throw thrown;
  }
}

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("cudaAvailable", Napi::Function::New<guarded<cuda_available>>(env, "cudaAvailable"));
  exports.Set("supports", Napi::Function::New<guarded<supports>>(env, "supports"));
  exports.Set("evaluate", Napi::Function::New<guarded<evaluate>>(env, "evaluate"));
  return exports;
}

}  // namespace
}  // namespace te

static Napi::Object init_module(Napi::Env env, Napi::Object exports) { return te::init(env, exports); }
NODE_API_MODULE(te_cuda, init_module)
