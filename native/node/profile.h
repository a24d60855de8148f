// The functions profile and profileResults of an addon.
#pragma once
#include "node/js.h"

namespace te {

// profile(on)
napi_value profile(napi_env env, napi_callback_info info);
// profileResults() → {op, node, executable, startNs, ns}[] since the last call.
napi_value profile_results(napi_env env, napi_callback_info info);

}  // namespace te
