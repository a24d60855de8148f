// te_cpu.node: the functions of every device, and those of the CPU alone.
#include <algorithm>
#include <chrono>
#include <thread>
#ifdef TE_ONEDNN
#include <dnnl.hpp>
#endif

#include "cpu/device.h"
#include "cpu/gemm/bfloat16_unit.h"
#include "node/arguments.h"
#include "node/functions.h"
#include "te/parallel.h"
#include "te/peak.h"
#include "te/queue.h"
#include "te/settings.h"
#include "te/world.h"

namespace te {
namespace {

napi_value describe(napi_env env, napi_callback_info) {
  napi_value isas = js_array(env);
  for (int i = 0; i <= static_cast<int>(active_isa()); ++i)
    push(env, isas, static_cast<uint32_t>(i), js_text(env, isa_name(static_cast<Isa>(i))));
  napi_value result = js_object(env);
  set(env, result, "isa", js_text(env, isa_name(active_isa())));
  set(env, result, "isas", isas);
  set(env, result, "threads", js_number(env, wanted_threads()));
#ifdef TE_ONEDNN
  const dnnl_version_t* version = dnnl_version();
  set(env, result, "oneDNN",
      js_text(env, std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                       std::to_string(version->patch)));
#endif
  set(env, result, "nativeBfloat16", js_boolean(env, bfloat16_unit() != nullptr));
  set(env, result, "problems", js_texts(env, problems()));
  return result;
}

// Returns the number that is used: as many as are asked for, or as can be had.
napi_value set_threads(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  const int32_t n = a.integer(0);
  if (n < 1)
    throw Error("option", "setThreads: the number of threads must be 1 or more, got " + std::to_string(n) + ".");
  set_num_threads(n);
  return js_integer(env, wanted_threads());
}

// productPeak(dtype, seconds), copyBandwidth(seconds, bytes) and readBandwidth(seconds, bytes) block the calling
// thread: they are for benchmarks.
napi_value product_peak(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  const std::string name = Js(env, a.value[0]).text("dtype");
  DType dtype;
  if (!dtype_from_name(name, &dtype))
    throw Error("dtype", "productPeak: dtype must be float32 or bfloat16, got " + name + ".");
  return js_number(env, measure_product_peak(dtype, Js(env, a.value[1]).number("seconds")));
}

template <double (*MEASURE)(double, size_t)>
napi_value bandwidth(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  const double seconds = Js(env, a.value[0]).number("seconds"), bytes = Js(env, a.value[1]).number("bytes");
  if (!(bytes >= 0 && bytes <= 9007199254740992.0)) throw Error("memory", "bandwidth: bytes is out of range.");
  return js_number(env, MEASURE(seconds, static_cast<size_t>(bytes)));
}

// collectiveTime(name, bytes, times): seconds of one of MPI's own, for benchmarks. All processes call it.
napi_value collective_time(napi_env env, napi_callback_info info) {
  const Arguments<3> a(env, info);
  const double bytes = Js(env, a.value[1]).number("bytes");
  if (!(bytes >= 0 && bytes <= 1u << 30)) throw Error("memory", "collectiveTime: bytes is out of range.");
  const int64_t times = std::clamp<int64_t>(Js(env, a.value[2]).integer("times"), 1, 1000000);
  return js_number(env,
                   measure_mpi(Js(env, a.value[0]).text("name"), static_cast<size_t>(bytes), static_cast<int>(times)));
}

// joinWorld(library) blocks until all processes have joined, and returns who this one is.
napi_value join(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  join_world(Js(env, a.value[0]).text("library"));
  napi_value result = js_object(env);
  set(env, result, "rank", js_integer(env, world_rank()));
  set(env, result, "size", js_integer(env, world_size()));
  return result;
}

napi_value sent(napi_env env, napi_callback_info) {
  napi_value result = js_object(env);
  for (const auto& [kind, bytes] : sent_bytes())
    set(env, result, kind.c_str(), js_number(env, static_cast<double>(bytes)));
  return result;
}

// leaveWorld(code): after an error (not 0) ends all processes, otherwise blocks until what was queued is done and all
// processes have come here.
napi_value leave(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  const int64_t code = Js(env, a.value[0]).integer("code");
  if (code != 0) abort_world(static_cast<int>(code));
  const std::shared_ptr<Queue> queue = Queue::acquire(cpu_device());
  while (!queue->idle()) std::this_thread::sleep_for(std::chrono::microseconds(100));
  leave_world();
  return nullptr;
}

void init(napi_env env, napi_value exports) {
  open_addon(env, exports, cpu_device());
  add_function<describe>(env, exports, "info");
  add_function<set_threads>(env, exports, "setThreads");
  add_function<product_peak>(env, exports, "productPeak");
  add_function<bandwidth<measure_copy_bandwidth>>(env, exports, "copyBandwidth");
  add_function<bandwidth<measure_read_bandwidth>>(env, exports, "readBandwidth");
  add_function<collective_time>(env, exports, "collectiveTime");
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
