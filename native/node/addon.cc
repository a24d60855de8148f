// The functions of te_cpu.node. Handles are int32; byte arrays are Uint8Array, lists of handles ArrayBuffer.
#include <cstdlib>
#include <dnnl.hpp>
#include <memory>

#include "node/parse.h"
#include "node/session.h"
#include "te/parallel.h"
#include "te/peak.h"
#include "te/settings.h"

namespace te {
namespace {

Session& session(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  auto* found = static_cast<Session*>(data);
  if (!found || found->closed()) throw Error("state", "the environment of this addon is closing");
  return *found;
}

// Arguments of one call.
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

napi_value integer(napi_env env, int32_t value) {
  napi_value result;
  ask(napi_create_int32(env, value, &result));
  return result;
}

napi_value boolean(napi_env env, bool value) {
  napi_value result;
  ask(napi_get_boolean(env, value, &result));
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

napi_value upload(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  size_t bytes;
  const auto* from = a.bytes(0, &bytes);
  return integer(env, session(env).upload(a.value[0], from, bytes));
}

napi_value own(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  return boolean(env, session(env).own(a.integer(0), a.value[1]));
}

napi_value read(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  size_t bytes;
  auto* to = a.bytes(1, &bytes);
  return session(env).read(a.integer(0), a.value[1], to, bytes);
}

napi_value fetch(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  return session(env).fetch(a.integer(0));
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

napi_value release_donated(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  session(env).release_donated(a.integer(0));
  return nullptr;
}

napi_value reclaim(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  return boolean(env, session(env).reclaim(a.integer(0)));
}

napi_value wait(napi_env env, napi_callback_info) { return session(env).wait(); }

napi_value sweep(napi_env env, napi_callback_info) { return boolean(env, session(env).sweep()); }

napi_value collect(napi_env env, napi_callback_info) {
  session(env).collect();
  return nullptr;
}

// --- compiling -----------------------------------------------------------------------------------------------------

napi_value supports(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  const Node node = parse_node({env, a.value[0]});
  use_threads(wanted_threads());
  std::string why;
  if (!prepare_kernel(node, &why)) return js_text(env, why);
  napi_value null;
  ask(napi_get_null(env, &null));
  return null;
}

napi_value compile(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  return integer(env, session(env).compile(parse_program({env, a.value[0]})));
}

napi_value own_program(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  return boolean(env, session(env).own_program(a.integer(0), a.value[1]));
}

napi_value destroy(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  session(env).destroy(a.integer(0));
  return nullptr;
}

// --- asking --------------------------------------------------------------------------------------------------------

napi_value describe(napi_env env, napi_callback_info) {
  napi_value isas = js_array(env);
  for (int i = 0; i <= static_cast<int>(active_isa()); ++i)
    push(env, isas, static_cast<uint32_t>(i), js_text(env, isa_name(static_cast<Isa>(i))));
  const dnnl_version_t* version = dnnl_version();
  const bool bfloat16 = dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_bf16 ||
                        dnnl::get_effective_cpu_isa() == dnnl::cpu_isa::avx512_core_amx;
  napi_value result = js_object(env);
  set(env, result, "isa", js_text(env, isa_name(active_isa())));
  set(env, result, "isas", isas);
  set(env, result, "threads", js_number(env, wanted_threads()));
  set(env, result, "oneDNN",
      js_text(env, std::to_string(version->major) + "." + std::to_string(version->minor) + "." +
                       std::to_string(version->patch)));
  set(env, result, "nativeBfloat16", boolean(env, bfloat16));
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
  return integer(env, wanted_threads());
}

napi_value memory(napi_env env, napi_callback_info) {
  Session& s = session(env);
  s.release_collected();
  const Pool::Stats stats = Pool::get().stats();
  napi_value result = js_object(env);
  const auto add = [&](const char* name, size_t bytes) {
    set(env, result, name, js_number(env, static_cast<double>(bytes)));
  };
  add("live", s.live_bytes());
  add("peak", s.peak_bytes());
  add("used", stats.used);
  add("usedPeak", stats.peak);
  add("cached", stats.cached);
  add("arena", s.device().arena_bytes());
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
  return js_number(env, static_cast<double>(session(env).device().busy_ns()));
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
  napi_value result = js_array(env);
  for (size_t i = 0; i < records.size(); ++i) {
    const HandleScope scope(env);
    const ProfileRecord& record = records[i];
    napi_value item = js_object(env);
    set(env, item, "op", js_text(env, record.op));
    set(env, item, "node", js_number(env, record.node));
    set(env, item, "executable", js_number(env, record.executable));
    set(env, item, "startNs", js_number(env, static_cast<double>(record.start_ns)));
    set(env, item, "ns", js_number(env, static_cast<double>(record.ns)));
    push(env, result, static_cast<uint32_t>(i), item);
  }
  return result;
}

// productPeak(dtype, seconds) and copyBandwidth(seconds, bytes) block the calling thread: they are for benchmarks.
napi_value product_peak(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  const std::string name = Js(env, a.value[0]).text("dtype");
  DType dtype;
  if (!dtype_from_name(name, &dtype))
    throw Error("dtype", "productPeak: dtype must be float32 or bfloat16, got " + name + ".");
  return js_number(env, measure_product_peak(dtype, Js(env, a.value[1]).number("seconds")));
}

napi_value copy_bandwidth(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  const double seconds = Js(env, a.value[0]).number("seconds"), bytes = Js(env, a.value[1]).number("bytes");
  if (!(bytes >= 0 && bytes <= 9007199254740992.0)) throw Error("memory", "copyBandwidth: bytes is out of range.");
  return js_number(env, measure_copy_bandwidth(seconds, static_cast<size_t>(bytes)));
}

template <napi_value (*F)(napi_env, napi_callback_info)>
void add(napi_env env, napi_value exports, const char* name) {
  napi_value function;
  ask(napi_create_function(env, name, NAPI_AUTO_LENGTH, guarded<F>, nullptr, &function));
  set(env, exports, name, function);
}

void open_session(napi_env env) {
  auto state = std::make_unique<Session>(env);
  ask(napi_set_instance_data(
      env, state.get(), [](napi_env, void* data, void*) { delete static_cast<Session*>(data); }, nullptr));
  Session* opened = state.release();
  ask(napi_add_env_cleanup_hook(
      env, [](void* data) { static_cast<Session*>(data)->close(); }, opened));
}

// What is registered when the process has begun to end comes before the destructors of libraries, however late those
// made what they destroy. Listeners of "exit" that come after this one can still read tensors.
napi_value prepare_exit(napi_env, napi_callback_info) {
  std::atexit(Device::halt_current);
  return nullptr;
}

void listen_for_exit(napi_env env) {
  napi_value global, listener, ignored;
  ask(napi_get_global(env, &global));
  const Js process = Js(env, global).get("process");
  ask(napi_create_function(env, "exit", NAPI_AUTO_LENGTH, guarded<prepare_exit>, nullptr, &listener));
  napi_value arguments[] = {js_text(env, "exit"), listener};
  ask(napi_call_function(env, process.value(), process.get("once").value(), 2, arguments, &ignored));
}

void init(napi_env env, napi_value exports) {
  open_session(env);
  listen_for_exit(env);
  add<run>(env, exports, "run");
  add<create>(env, exports, "create");
  add<from_array>(env, exports, "fromArray");
  add<upload>(env, exports, "upload");
  add<own>(env, exports, "own");
  add<read>(env, exports, "read");
  add<fetch>(env, exports, "fetch");
  add<read_sync>(env, exports, "readSync");
  add<release>(env, exports, "release");
  add<release_donated>(env, exports, "releaseDonated");
  add<reclaim>(env, exports, "reclaim");
  add<wait>(env, exports, "wait");
  add<supports>(env, exports, "supports");
  add<compile>(env, exports, "compile");
  add<own_program>(env, exports, "ownProgram");
  add<destroy>(env, exports, "destroy");
  add<sweep>(env, exports, "sweep");
  add<collect>(env, exports, "collect");
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
}

}  // namespace
}  // namespace te

NAPI_MODULE_INIT() {
  te::guard(env, [&] { te::init(env, exports); });
  return exports;
}
