// The arguments of one call from JavaScript, each with what it must be.
#pragma once
#include <algorithm>
#include <string>

#include "node/js.h"

namespace te {

template <size_t N>
struct Arguments {
  Arguments(napi_env e, napi_callback_info info) : env(e) {
    size_t count = N;
    napi_get_cb_info(env, info, &count, value, nullptr, &data);
  }
  int32_t integer(size_t i) const {
    int32_t number;
    if (napi_get_value_int32(env, value[i], &number) != napi_ok) wrong(i, "a number");
    return number;
  }
  size_t size(size_t i) const {
    double number;
    if (napi_get_value_double(env, value[i], &number) != napi_ok || !(number >= 0)) wrong(i, "a number of bytes");
    return static_cast<size_t>(std::min(number, 9e18));
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
  void* data = nullptr;  // what the function was made with
  napi_value value[N];
};

}  // namespace te
