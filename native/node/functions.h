// The functions that the addon of every device has: NativeAddon of packages/tensor/src/native. Handles are int32; byte
// arrays are Uint8Array, lists of handles ArrayBuffer.
#pragma once
#include "node/session.h"

namespace te {

// For the initialisation of an addon: the environment gets a session on the device, and `exports` the functions.
void open_addon(napi_env env, napi_value exports, Device& device);

// The session that a function of open_addon was made with. Throws te::Error "state" when its environment is closing.
Session& session(void* data);
Session& session(napi_env env, napi_callback_info info);

// exports[name] = F, which finds `data` in its Arguments.
template <napi_value (*F)(napi_env, napi_callback_info)>
void add_function(napi_env env, napi_value exports, const char* name, void* data = nullptr) {
  napi_value function;
  ask(napi_create_function(env, name, NAPI_AUTO_LENGTH, guarded<F>, data, &function));
  set(env, exports, name, function);
}

}  // namespace te
