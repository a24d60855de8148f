// The functions of te_cpu.node. Handles are int32; byte arrays are Uint8Array, lists of handles ArrayBuffer.
#include <dnnl.hpp>

#include "node/parse.h"
#include "node/session.h"
#include "te/parallel.h"
#include "te/peak.h"

namespace te {
namespace {

Session& session(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  if (!data) throw Error("state", "the environment of this addon is closing");
  return *static_cast<Session*>(data);
}

// Arguments of one call. The hot functions use the C interface directly: it costs a third of the C++ wrapper.
template <size_t N>
struct Arguments {
  Arguments(napi_env e, napi_callback_info info) : env(e) {
    size_t count = N;
    napi_get_cb_info(env, info, &count, value, nullptr, nullptr);
  }
  int32_t integer(size_t i) const {
    int32_t number;
    if (napi_get_value_int32(env, value[i], &number) != napi_ok) wrong(i, "a number");
    return number;
  }
  size_t size(size_t i) const {
    double number;
    if (napi_get_value_double(env, value[i], &number) != napi_ok || !(number >= 0)) wrong(i, "a number of bytes");
    if (number > 1e18) check_memory(static_cast<size_t>(std::min(number, 9e18)), 0);
    return static_cast<size_t>(number);
  }
  uint8_t* bytes(size_t i, size_t* length) const {
    napi_typedarray_type type;
    void* data;
    if (napi_get_typedarray_info(env, value[i], &type, length, &data, nullptr, nullptr) != napi_ok ||
        type != napi_uint8_array)
      wrong(i, "a Uint8Array");
    return static_cast<uint8_t*>(data);
  }
  // The words of an ArrayBuffer. Asking V8 about a view of one takes five times longer than about the buffer itself.
  int32_t* words(size_t i, size_t* length) const {
    void* data;
    size_t bytes;
    if (napi_get_arraybuffer_info(env, value[i], &data, &bytes) != napi_ok) wrong(i, "an ArrayBuffer");
    *length = bytes / sizeof(int32_t);
    return static_cast<int32_t*>(data);
  }
  [[noreturn]] static void wrong(size_t i, const char* what) {
    throw Error("state", "native: argument " + std::to_string(i + 1) + " is not " + what);
  }
  napi_env env;
  napi_value value[N];
};

// Turns C++ exceptions into JavaScript errors with a code.
template <napi_value (*F)(napi_env, napi_callback_info)>
napi_value guarded(napi_env env, napi_callback_info info) {
  try {
    return F(env, info);
  } catch (const Napi::Error& error) {
    error.ThrowAsJavaScriptException();
  } catch (const Error& error) {
    napi_throw(env, make_error(env, error.code, error.what()));
  } catch (const std::bad_alloc&) {
    napi_throw(env, make_error(env, "memory", "native: out of memory"));
  } catch (const std::exception& error) {
    napi_throw(env, make_error(env, "backend", error.what()));
  }
  return nullptr;
}

napi_value number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

napi_value integer(napi_env env, int32_t value) {
  napi_value result;
  napi_create_int32(env, value, &result);
  return result;
}

// --- hot -----------------------------------------------------------------------------------------------------------

napi_value run(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  size_t count;
  int32_t* handles = a.words(1, &count);
  session(env).run(a.integer(0), handles, count);
  return nullptr;
}

napi_value create(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  return integer(env, session(env).create(a.size(0)));
}

napi_value from_array(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  size_t bytes;
  const auto* from = a.bytes(0, &bytes);
  return integer(env, session(env).from_bytes(from, bytes));
}

napi_value write(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  size_t bytes;
  const auto* from = a.bytes(1, &bytes);
  session(env).write(a.integer(0), from, bytes);
  return nullptr;
}

napi_value read(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  size_t bytes;
  auto* to = a.bytes(1, &bytes);
  return session(env).read(a.integer(0), a.value[1], to, bytes);
}

napi_value read_sync(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  size_t bytes;
  auto* to = a.bytes(1, &bytes);
  session(env).read_sync(a.integer(0), to, bytes);
  return nullptr;
}

napi_value release(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  session(env).release(a.integer(0));
  return nullptr;
}

napi_value wait(napi_env env, napi_callback_info) { return session(env).wait(); }

// --- compiling -----------------------------------------------------------------------------------------------------

napi_value supports(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  const Node node = parse_node(Napi::Value(env, a.value[0]));
  use_threads(wanted_threads());
  std::string why;
  if (prepare_kernel(node, &why)) return Napi::Env(env).Null();
  return Napi::String::New(env, why);
}

napi_value compile(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  return integer(env, session(env).compile(parse_program(Napi::Value(env, a.value[0]))));
}

napi_value destroy(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  session(env).destroy(a.integer(0));
  return nullptr;
}

// --- asking --------------------------------------------------------------------------------------------------------

napi_value describe(napi_env env, napi_callback_info) {
  Napi::Object result = Napi::Object::New(env);
  Napi::Array isas = Napi::Array::New(env);
  for (int i = 0; i <= static_cast<int>(active_isa()); ++i)
    isas.Set(static_cast<uint32_t>(i), isa_name(static_cast<Isa>(i)));
  const dnnl_version_t* version = dnnl_version();
  const bool bfloat16 = dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_bf16 ||
                        dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx;
  result.Set("isa", isa_name(active_isa()));
  result.Set("isas", isas);
  result.Set("threads", wanted_threads());
  result.Set("oneDNN", std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                           std::to_string(version->patch));
  result.Set("nativeBfloat16", bfloat16);
  return result;
}

napi_value set_threads(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  const int32_t n = a.integer(0);
  if (n < 1 || n > 4096)
    throw Error("option", "setThreads: the number of threads must lie in 1 ... 4096, got " + std::to_string(n) + ".");
  set_num_threads(n);
  return nullptr;
}

napi_value memory(napi_env env, napi_callback_info) {
  Session& s = session(env);
  const Pool::Stats stats = Pool::get().stats();
  Napi::Object result = Napi::Object::New(env);
  result.Set("live", static_cast<double>(s.live_bytes()));
  result.Set("peak", static_cast<double>(s.peak_bytes()));
  result.Set("used", static_cast<double>(stats.used));
  result.Set("usedPeak", static_cast<double>(stats.peak));
  result.Set("cached", static_cast<double>(stats.cached));
  result.Set("arena", static_cast<double>(s.device().arena_bytes()));
  return result;
}

napi_value reset_peak(napi_env env, napi_callback_info) {
  session(env).reset_peak();
  Pool::get().reset_peak();
  return nullptr;
}

napi_value trim(napi_env env, napi_callback_info) {
  Pool::get().trim();
  return nullptr;
}

napi_value busy_ns(napi_env env, napi_callback_info) {
  return number(env, static_cast<double>(session(env).device().busy_ns()));
}

napi_value profile(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  bool on = false;
  if (napi_get_value_bool(env, a.value[0], &on) != napi_ok) Arguments<1>::wrong(0, "a boolean");
  session(env).profiling = on;
  return nullptr;
}

napi_value profile_results(napi_env env, napi_callback_info) {
  Session& s = session(env);
  std::vector<ProfileRecord> records;
  {
    std::lock_guard lock(s.profile_mutex);
    std::swap(records, s.profile);
  }
  Napi::Array result = Napi::Array::New(env, records.size());
  for (size_t i = 0; i < records.size(); ++i) {
    Napi::HandleScope scope(env);
    Napi::Object item = Napi::Object::New(env);
    item.Set("op", records[i].op);
    item.Set("node", records[i].node);
    item.Set("executable", records[i].executable);
    item.Set("startNs", static_cast<double>(records[i].start_ns));
    item.Set("ns", static_cast<double>(records[i].ns));
    result.Set(static_cast<uint32_t>(i), item);
  }
  return result;
}

// productPeak(dtype, seconds) and copyBandwidth(seconds, bytes) block the calling thread: they are for benchmarks.
napi_value product_peak(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  const std::string name = Napi::Value(env, a.value[0]).ToString();
  DType dtype;
  if (!dtype_from_name(name, &dtype))
    throw Error("dtype", "productPeak: dtype must be float32 or bfloat16, got " + name + ".");
  return number(env, measure_product_peak(dtype, Napi::Value(env, a.value[1]).ToNumber()));
}

napi_value copy_bandwidth(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  const double bytes = Napi::Value(env, a.value[1]).ToNumber();
  if (!(bytes >= 0 && bytes <= 9007199254740992.0)) throw Error("memory", "copyBandwidth: bytes is out of range.");
  return number(env, measure_copy_bandwidth(Napi::Value(env, a.value[0]).ToNumber(), static_cast<size_t>(bytes)));
}

template <napi_value (*F)(napi_env, napi_callback_info)>
void add(napi_env env, napi_value exports, const char* name) {
  napi_value function;
  napi_create_function(env, name, NAPI_AUTO_LENGTH, guarded<F>, nullptr, &function);
  napi_set_named_property(env, exports, name, function);
}

napi_value init(napi_env env, napi_value exports) {
  auto* state = new Session(env);
  napi_set_instance_data(
      env, state, [](napi_env, void* data, void*) { delete static_cast<Session*>(data); }, nullptr);
  napi_add_env_cleanup_hook(
      env, [](void* data) { static_cast<Session*>(data)->close(); }, state);
  add<run>(env, exports, "run");
  add<create>(env, exports, "create");
  add<from_array>(env, exports, "fromArray");
  add<write>(env, exports, "write");
  add<read>(env, exports, "read");
  add<read_sync>(env, exports, "readSync");
  add<release>(env, exports, "release");
  add<wait>(env, exports, "wait");
  add<supports>(env, exports, "supports");
  add<compile>(env, exports, "compile");
  add<destroy>(env, exports, "destroy");
  add<describe>(env, exports, "info");
  add<set_threads>(env, exports, "setThreads");
  add<memory>(env, exports, "memory");
  add<reset_peak>(env, exports, "resetPeak");
  add<trim>(env, exports, "trim");
  add<busy_ns>(env, exports, "busyNs");
  add<product_peak>(env, exports, "productPeak");
  add<copy_bandwidth>(env, exports, "copyBandwidth");
  add<profile>(env, exports, "profile");
  add<profile_results>(env, exports, "profileResults");
  return exports;
}

}  // namespace
}  // namespace te

NAPI_MODULE_INIT() { return te::init(env, exports); }
