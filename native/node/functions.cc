// What the functions of every addon do: they read their arguments and ask the session.
#include "node/functions.h"

#include <cstdlib>
#include <memory>

#include "node/arguments.h"
#include "node/parse.h"
#include "node/profile.h"

namespace te {

Session& session(void* data) {
  auto* found = static_cast<Session*>(data);
  if (!found || found->closed()) throw Error("state", "the environment of this addon is closing");
  return *found;
}

Session& session(napi_env env, napi_callback_info info) {
  size_t none = 0;
  void* data = nullptr;
  napi_get_cb_info(env, info, &none, nullptr, nullptr, &data);
  return session(data);
}

namespace {

// --- hot -----------------------------------------------------------------------------------------------------------

napi_value run(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  size_t count;
  int32_t* handles = a.words(1, &count);
  session(a.data).run(a.integer(0), handles, count);
  return nullptr;
}

napi_value create(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  return js_integer(env, session(a.data).create(a.size(0)));
}

napi_value from_array(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  size_t bytes;
  const auto* from = a.bytes(0, &bytes);
  return js_integer(env, session(a.data).from_bytes(from, bytes));
}

napi_value upload(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  size_t bytes;
  const auto* from = a.bytes(0, &bytes);
  return js_integer(env, session(a.data).upload(a.value[0], from, bytes));
}

napi_value own(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  return js_boolean(env, session(a.data).own(a.integer(0), a.value[1]));
}

napi_value read(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  size_t bytes;
  auto* to = a.bytes(1, &bytes);
  return session(a.data).read(a.integer(0), a.value[1], to, bytes);
}

napi_value fetch(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  return session(a.data).fetch(a.integer(0));
}

napi_value read_sync(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  size_t bytes;
  auto* to = a.bytes(1, &bytes);
  session(a.data).read_sync(a.integer(0), to, bytes);
  return nullptr;
}

napi_value release(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  session(a.data).release(a.integer(0));
  return nullptr;
}

napi_value release_donated(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  session(a.data).release_donated(a.integer(0));
  return nullptr;
}

napi_value reclaim(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  return js_boolean(env, session(a.data).reclaim(a.integer(0)));
}

napi_value wait(napi_env env, napi_callback_info info) { return session(env, info).wait(); }

napi_value sweep(napi_env env, napi_callback_info info) { return js_boolean(env, session(env, info).sweep()); }

napi_value collect(napi_env env, napi_callback_info info) {
  session(env, info).collect();
  return nullptr;
}

// --- compiling -----------------------------------------------------------------------------------------------------

napi_value supports(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  const Node node = parse_node({env, a.value[0]});
  Device& device = session(a.data).device();
  std::string why;
  if (!device.prepare(node, device.width(), &why)) return js_text(env, why);
  napi_value null;
  ask(napi_get_null(env, &null));
  return null;
}

napi_value scratch_bytes(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  const Node node = parse_node({env, a.value[0]});
  Device& device = session(a.data).device();
  std::string why;
  const std::unique_ptr<Kernel> kernel = device.prepare(node, device.width(), &why);
  if (!kernel) throw Error("unsupported", node.op + ": " + why);
  return js_number(env, static_cast<double>(kernel->scratch_bytes()));
}

napi_value compile(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  return js_integer(env, session(a.data).compile(parse_program({env, a.value[0]})));
}

napi_value own_program(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  return js_boolean(env, session(a.data).own_program(a.integer(0), a.value[1]));
}

napi_value destroy(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  session(a.data).destroy(a.integer(0));
  return nullptr;
}

// --- memory --------------------------------------------------------------------------------------------------------

napi_value memory(napi_env env, napi_callback_info info) {
  Session& s = session(env, info);
  s.release_collected();
  const Pool::Stats stats = s.device().memory.stats();
  napi_value result = js_object(env);
  const auto add = [&](const char* name, size_t bytes) {
    set(env, result, name, js_number(env, static_cast<double>(bytes)));
  };
  add("live", s.live_bytes());
  add("peak", s.peak_bytes());
  add("used", stats.used);
  add("usedPeak", stats.peak);
  add("cached", stats.cached);
  add("arena", s.queue().arena_bytes());
  return result;
}

napi_value reset_peak(napi_env env, napi_callback_info info) {
  session(env, info).reset_peak();
  session(env, info).device().memory.reset_peak();
  return nullptr;
}

napi_value trim(napi_env env, napi_callback_info info) {
  session(env, info).device().memory.trim();
  return nullptr;
}

napi_value busy_ns(napi_env env, napi_callback_info info) {
  return js_number(env, static_cast<double>(session(env, info).queue().busy_ns()));
}

// --- the environment -----------------------------------------------------------------------------------------------

// The sessions of an environment, one for each device that was opened.
struct Sessions {
  std::vector<std::unique_ptr<Session>> all;
};

Session* open_session(napi_env env, Device& device) {
  void* data = nullptr;
  ask(napi_get_instance_data(env, &data));
  if (!data) {
    auto sessions = std::make_unique<Sessions>();
    ask(napi_set_instance_data(
        env, sessions.get(), [](napi_env, void* held, void*) { delete static_cast<Sessions*>(held); }, nullptr));
    data = sessions.release();
  }
  auto& all = static_cast<Sessions*>(data)->all;
  all.push_back(std::make_unique<Session>(env, device));
  Session* opened = all.back().get();
  ask(napi_add_env_cleanup_hook(
      env, [](void* held) { static_cast<Session*>(held)->close(); }, opened));
  return opened;
}

// What is registered when the process has begun to end comes before the destructors of libraries, however late those
// made what they destroy. Listeners of "exit" that come after this one can still read tensors.
napi_value prepare_exit(napi_env, napi_callback_info) {
  std::atexit(Queue::halt_all);
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

}  // namespace

void open_addon(napi_env env, napi_value exports, Device& device) {
  Session* const opened = open_session(env, device);
  listen_for_exit(env);
  add_function<run>(env, exports, "run", opened);
  add_function<create>(env, exports, "create", opened);
  add_function<from_array>(env, exports, "fromArray", opened);
  add_function<upload>(env, exports, "upload", opened);
  add_function<own>(env, exports, "own", opened);
  add_function<read>(env, exports, "read", opened);
  add_function<fetch>(env, exports, "fetch", opened);
  add_function<read_sync>(env, exports, "readSync", opened);
  add_function<release>(env, exports, "release", opened);
  add_function<release_donated>(env, exports, "releaseDonated", opened);
  add_function<reclaim>(env, exports, "reclaim", opened);
  add_function<wait>(env, exports, "wait", opened);
  add_function<supports>(env, exports, "supports", opened);
  add_function<scratch_bytes>(env, exports, "scratchBytes", opened);
  add_function<compile>(env, exports, "compile", opened);
  add_function<own_program>(env, exports, "ownProgram", opened);
  add_function<destroy>(env, exports, "destroy", opened);
  add_function<sweep>(env, exports, "sweep", opened);
  add_function<collect>(env, exports, "collect", opened);
  add_function<memory>(env, exports, "memory", opened);
  add_function<reset_peak>(env, exports, "resetPeak", opened);
  add_function<trim>(env, exports, "trim", opened);
  add_function<busy_ns>(env, exports, "busyNs", opened);
  add_function<profile>(env, exports, "profile", opened);
  add_function<profile_results>(env, exports, "profileResults", opened);
}

}  // namespace te
