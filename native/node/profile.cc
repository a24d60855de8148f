// The times of kernels, as they are kept with a session.
#include "node/profile.h"

#include "node/arguments.h"
#include "node/functions.h"

namespace te {

napi_value profile(napi_env env, napi_callback_info info) {
  const Arguments<1> a(env, info);
  bool on = false;
  if (napi_get_value_bool(env, a.value[0], &on) != napi_ok) Arguments<1>::wrong(0, "a boolean");
  session(a.data).profiling = on;
  return nullptr;
}

napi_value profile_results(napi_env env, napi_callback_info info) {
  Session& s = session(env, info);
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

}  // namespace te
