// What the functions of every addon do: they read their arguments and ask the session.
#include "node/functions.h"

#include <cstdlib>
#include <memory>

#include "node/arguments.h"
#include "node/parse.h"
#include "node/profile.h"

namespace te {

Session& session(napi_env env) {
  void* data = nullptr;
  napi_get_instance_data(env, &data);
  auto* found = static_cast<Session*>(data);
  if (!found || found->closed()) throw Error("state", "the environment of this addon is closing");
  return *found;
}

namespace {

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
  return js_integer(env, session(env).create(a.size(0)));
}

napi_value from_array(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  size_t bytes;
  const auto* from = a.bytes(0, &bytes);
  return js_integer(env, session(env).from_bytes(from, bytes));
}

napi_value upload(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  size_t bytes;
  const auto* from = a.bytes(0, &bytes);
  return js_integer(env, session(env).upload(a.value[0], from, bytes));
}

napi_value own(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  return js_boolean(env, session(env).own(a.integer(0), a.value[1]));
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
  return js_boolean(env, session(env).reclaim(a.integer(0)));
}

napi_value wait(napi_env env, napi_callback_info) { return session(env).wait(); }

napi_value sweep(napi_env env, napi_callback_info) { return js_boolean(env, session(env).sweep()); }

napi_value collect(napi_env env, napi_callback_info) {
  session(env).collect();
  return nullptr;
}

// --- compiling -----------------------------------------------------------------------------------------------------

napi_value supports(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  const Node node = parse_node({env, a.value[0]});
  Device& device = session(env).device();
  std::string why;
  if (!device.prepare(node, device.width(), &why)) return js_text(env, why);
  napi_value null;
  ask(napi_get_null(env, &null));
  return null;
}

napi_value compile(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  return js_integer(env, session(env).compile(parse_program({env, a.value[0]})));
}

napi_value own_program(napi_env env, napi_callback_info info) {
  const Arguments<2> a(env, info);
  return js_boolean(env, session(env).own_program(a.integer(0), a.value[1]));
}

napi_value destroy(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  session(env).destroy(a.integer(0));
  return nullptr;
}

// --- memory --------------------------------------------------------------------------------------------------------

napi_value memory(napi_env env, napi_callback_info) {
  Session& s = session(env);
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

napi_value reset_peak(napi_env env, napi_callback_info) {
  session(env).reset_peak();
  session(env).device().memory.reset_peak();
  return nullptr;
}

napi_value trim(napi_env env, napi_callback_info) {
  session(env).device().memory.trim();
  return nullptr;
}

napi_value busy_ns(napi_env env, napi_callback_info) {
  return js_number(env, static_cast<double>(session(env).queue().busy_ns()));
}

// --- the environment -----------------------------------------------------------------------------------------------

void open_session(napi_env env, Device& device) {
  auto state = std::make_unique<Session>(env, device);
  ask(napi_set_instance_data(
      env, state.get(), [](napi_env, void* data, void*) { delete static_cast<Session*>(data); }, nullptr));
  Session* opened = state.release();
  ask(napi_add_env_cleanup_hook(
      env, [](void* data) { static_cast<Session*>(data)->close(); }, opened));
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
  open_session(env, device);
  listen_for_exit(env);
  add_function<run>(env, exports, "run");
  add_function<create>(env, exports, "create");
  add_function<from_array>(env, exports, "fromArray");
  add_function<upload>(env, exports, "upload");
  add_function<own>(env, exports, "own");
  add_function<read>(env, exports, "read");
  add_function<fetch>(env, exports, "fetch");
  add_function<read_sync>(env, exports, "readSync");
  add_function<release>(env, exports, "release");
  add_function<release_donated>(env, exports, "releaseDonated");
  add_function<reclaim>(env, exports, "reclaim");
  add_function<wait>(env, exports, "wait");
  add_function<supports>(env, exports, "supports");
  add_function<compile>(env, exports, "compile");
  add_function<own_program>(env, exports, "ownProgram");
  add_function<destroy>(env, exports, "destroy");
  add_function<sweep>(env, exports, "sweep");
  add_function<collect>(env, exports, "collect");
  add_function<memory>(env, exports, "memory");
  add_function<reset_peak>(env, exports, "resetPeak");
  add_function<trim>(env, exports, "trim");
  add_function<busy_ns>(env, exports, "busyNs");
  add_function<profile>(env, exports, "profile");
  add_function<profile_results>(env, exports, "profileResults");
}

}  // namespace te
