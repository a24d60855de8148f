// Reading values of JavaScript, and making them.
#include "node/js.h"

#include <cmath>

namespace te {
namespace {

[[noreturn]] void wrong(const char* what, const char* is_not) {
  throw Error("state", std::string("native: ") + what + " is not " + is_not);
}

}  // namespace

napi_valuetype Js::type() const {
  napi_valuetype type;
  ask(napi_typeof(env_, value_, &type));
  return type;
}

bool Js::is_array() const {
  bool array = false;
  ask(napi_is_array(env_, value_, &array));
  return array;
}

double Js::number(const char* what) const {
  double number;
  if (napi_get_value_double(env_, value_, &number) != napi_ok) wrong(what, "a number");
  return number;
}

int64_t Js::integer(const char* what) const {
  const double value = number(what);
  if (!(std::abs(value) <= 9007199254740991.0) || value != std::floor(value)) wrong(what, "a safe integer");
  return static_cast<int64_t>(value);
}

bool Js::boolean(const char* what) const {
  bool value;
  if (napi_get_value_bool(env_, value_, &value) != napi_ok) wrong(what, "a boolean");
  return value;
}

std::string Js::text(const char* what) const {
  size_t length = 0;
  if (napi_get_value_string_utf8(env_, value_, nullptr, 0, &length) != napi_ok) wrong(what, "a string");
  std::string text(length, '\0');
  ask(napi_get_value_string_utf8(env_, value_, text.data(), length + 1, &length));
  return text;
}

uint32_t Js::length(const char* what) const {
  if (!is_array()) wrong(what, "an array");
  uint32_t length = 0;
  ask(napi_get_array_length(env_, value_, &length));
  return length;
}

Js Js::at(uint32_t index) const {
  napi_value item;
  ask(napi_get_element(env_, value_, index, &item));
  return {env_, item};
}

Js Js::get(const char* name) const {
  if (type() != napi_object) wrong(name, "a property of an object");
  napi_value property;
  ask(napi_get_named_property(env_, value_, name, &property));
  return {env_, property};
}

Js Js::names() const {
  napi_value names;
  ask(napi_get_property_names(env_, value_, &names));
  return {env_, names};
}

napi_value js_number(napi_env env, double value) {
  napi_value result;
  ask(napi_create_double(env, value, &result));
  return result;
}

napi_value js_integer(napi_env env, int32_t value) {
  napi_value result;
  ask(napi_create_int32(env, value, &result));
  return result;
}

napi_value js_boolean(napi_env env, bool value) {
  napi_value result;
  ask(napi_get_boolean(env, value, &result));
  return result;
}

napi_value js_text(napi_env env, const std::string& text) {
  napi_value result;
  ask(napi_create_string_utf8(env, text.data(), text.size(), &result));
  return result;
}

napi_value js_object(napi_env env) {
  napi_value result;
  ask(napi_create_object(env, &result));
  return result;
}

napi_value js_array(napi_env env) {
  napi_value result;
  ask(napi_create_array(env, &result));
  return result;
}

napi_value js_texts(napi_env env, const std::vector<std::string>& texts) {
  napi_value result = js_array(env);
  for (size_t i = 0; i < texts.size(); ++i) push(env, result, static_cast<uint32_t>(i), js_text(env, texts[i]));
  return result;
}

void set(napi_env env, napi_value object, const char* name, napi_value value) {
  ask(napi_set_named_property(env, object, name, value));
}

void push(napi_env env, napi_value array, uint32_t index, napi_value value) {
  ask(napi_set_element(env, array, index, value));
}

napi_value js_error(napi_env env, const std::string& code, const std::string& message) {
  napi_value error;
  ask(napi_create_error(env, js_text(env, code), js_text(env, message), &error));
  return error;
}

}  // namespace te
