// Node-API with every status looked at. In an environment that ends (worker.terminate(), process.exit()) any call may
// be refused; throwing into it, or using what a refused call did not write, would end the whole process.
#pragma once
#include <node_api.h>

#include <cstdint>
#include <new>
#include <string>
#include <vector>

#include "te/status.h"

namespace te {

// Node-API refused a call: an exception is pending, or the environment ends.
struct Refused {};

inline void ask(napi_status status) {
  if (status != napi_ok) throw Refused{};
}

// A value of JavaScript. What it must be is `what` in the error that says it is not.
class Js {
 public:
  Js(napi_env env, napi_value value) : env_(env), value_(value) {}

  napi_valuetype type() const;
  bool is_array() const;
  bool is_null() const { return type() == napi_null || type() == napi_undefined; }
  double number(const char* what) const;
  int64_t integer(const char* what) const;
  bool boolean(const char* what) const;
  std::string text(const char* what) const;

  uint32_t length(const char* what) const;  // of an array
  Js at(uint32_t index) const;
  Js get(const char* name) const;  // of an object
  Js names() const;

  napi_env env() const { return env_; }
  napi_value value() const { return value_; }

 private:
  napi_env env_;
  napi_value value_;
};

// Handles made while it lives are given back with it.
class HandleScope {
 public:
  explicit HandleScope(napi_env env) : env_(env) { ask(napi_open_handle_scope(env, &scope_)); }
  ~HandleScope() { napi_close_handle_scope(env_, scope_); }
  HandleScope(const HandleScope&) = delete;
  HandleScope& operator=(const HandleScope&) = delete;

 private:
  napi_env env_;
  napi_handle_scope scope_ = nullptr;
};

napi_value js_number(napi_env env, double value);
napi_value js_integer(napi_env env, int32_t value);
napi_value js_boolean(napi_env env, bool value);
napi_value js_text(napi_env env, const std::string& text);
napi_value js_object(napi_env env);
napi_value js_array(napi_env env);
napi_value js_texts(napi_env env, const std::vector<std::string>& texts);
void set(napi_env env, napi_value object, const char* name, napi_value value);
void push(napi_env env, napi_value array, uint32_t index, napi_value value);

// An Error object with a `code`.
napi_value js_error(napi_env env, const std::string& code, const std::string& message);

// Calls body and turns C++ exceptions into JavaScript errors with a code. None leaves it.
template <class Body>
void guard(napi_env env, const Body& body) noexcept {
  const auto raise = [env](const char* code, const char* message) {
    try {
      napi_throw(env, js_error(env, code, message));  // refused where the environment ends, and nobody looks then
    } catch (const Refused&) {
    }
  };
  try {
    body();
  } catch (const Refused&) {
    raise("state", "native: Node.js refused a call");  // not where an exception is pending: that one goes on
  } catch (const Error& error) {
    raise(error.code.c_str(), error.what());
  } catch (const std::bad_alloc&) {
    raise("memory", "native: out of memory");
  } catch (const std::exception& error) {
    raise("backend", error.what());
  } catch (...) {
    raise("backend", "native: an unknown exception");
  }
}

template <napi_value (*F)(napi_env, napi_callback_info)>
napi_value guarded(napi_env env, napi_callback_info info) {
  napi_value result = nullptr;
  guard(env, [&] { result = F(env, info); });
  return result;
}

}  // namespace te
