#include "node/parse.h"

#include <cmath>

namespace te {
namespace {

[[noreturn]] void malformed(const std::string& what) { throw Error("state", "native: " + what); }

Napi::Object object(const Napi::Value& value, const char* what) {
  if (!value.IsObject()) malformed(std::string(what) + " is not an object");
  return value.As<Napi::Object>();
}

Napi::Array array(const Napi::Value& value, const char* what) {
  if (!value.IsArray()) malformed(std::string(what) + " is not an array");
  return value.As<Napi::Array>();
}

int64_t integer(const Napi::Value& value, const char* what) {
  if (!value.IsNumber()) malformed(std::string(what) + " is not a number");
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(std::abs(number) <= 9007199254740991.0) || number != std::floor(number))
    malformed(std::string(what) + " is not a safe integer");
  return static_cast<int64_t>(number);
}

std::string text(const Napi::Value& value, const char* what) {
  if (!value.IsString()) malformed(std::string(what) + " is not a string");
  return value.As<Napi::String>().Utf8Value();
}

Aval parse_aval(const Napi::Value& value) {
  if (value.IsNull() || value.IsUndefined()) return {{}, DType::float32, false};
  const Napi::Object from = object(value, "an operand");
  Aval aval;
  const std::string name = text(from.Get("dtype"), "dtype");
  if (!dtype_from_name(name, &aval.dtype)) malformed("dtype '" + name + "' is not known");
  const Napi::Array shape = array(from.Get("shape"), "shape");
  for (uint32_t i = 0; i < shape.Length(); ++i) {
    aval.shape.push_back(integer(shape.Get(i), "a dimension"));
    if (aval.shape.back() < 0) malformed("a dimension is negative");
  }
  return aval;
}

Params::Value parse_list(const Napi::Array& list, const std::string& name) {
  if (list.Length() > 0 && list.Get(uint32_t{0}).IsString()) {
    std::vector<std::string> texts;
    for (uint32_t i = 0; i < list.Length(); ++i) texts.push_back(text(list.Get(i), name.c_str()));
    return texts;
  }
  std::vector<double> numbers;
  for (uint32_t i = 0; i < list.Length(); ++i) {
    const Napi::Value item = list.Get(i);
    if (!item.IsNumber()) malformed("parameter '" + name + "' holds neither numbers nor strings");
    numbers.push_back(item.As<Napi::Number>().DoubleValue());
  }
  return numbers;
}

Params parse_params(const Napi::Value& value) {
  Params params;
  if (value.IsUndefined() || value.IsNull()) return params;
  const Napi::Object from = object(value, "params");
  const Napi::Array names = from.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); ++i) {
    const std::string name = text(names.Get(i), "a parameter's name");
    const Napi::Value item = from.Get(name);
    if (item.IsBoolean())
      params.set(name, item.As<Napi::Boolean>().Value());
    else if (item.IsNumber())
      params.set(name, item.As<Napi::Number>().DoubleValue());
    else if (item.IsString())
      params.set(name, text(item, name.c_str()));
    else if (item.IsArray())
      params.set(name, parse_list(item.As<Napi::Array>(), name));
    else
      malformed("parameter '" + name + "' is neither a boolean, a number, a string nor a list");
  }
  return params;
}

std::vector<int> indices(const Napi::Value& value, const char* what) {
  const Napi::Array list = array(value, what);
  std::vector<int> out;
  for (uint32_t i = 0; i < list.Length(); ++i) out.push_back(static_cast<int>(integer(list.Get(i), what)));
  return out;
}

}  // namespace

Node parse_node(const Napi::Value& value) {
  const Napi::Object from = object(value, "the node");
  Node node{text(from.Get("op"), "op"), {}, {}, parse_params(from.Get("params"))};
  const Napi::Array inputs = array(from.Get("inputs"), "inputs"), outputs = array(from.Get("outputs"), "outputs");
  for (uint32_t i = 0; i < inputs.Length(); ++i) node.inputs.push_back(parse_aval(inputs.Get(i)));
  for (uint32_t i = 0; i < outputs.Length(); ++i) node.outputs.push_back(parse_aval(outputs.Get(i)));
  return node;
}

ProgramSpec parse_program(const Napi::Value& value) {
  const Napi::Object from = object(value, "the program");
  ProgramSpec spec;
  spec.inputs = static_cast<int>(integer(from.Get("inputs"), "inputs"));
  spec.arena_bytes = integer(from.Get("arenaBytes"), "arenaBytes");
  const Napi::Array values = array(from.Get("values"), "values");
  for (uint32_t i = 0; i < values.Length(); ++i) {
    Napi::HandleScope scope(from.Env());
    const Napi::Object item = object(values.Get(i), "a value");
    const int64_t place = integer(item.Get("kind"), "kind");
    if (place < 0 || place > 2) malformed("kind is none of 0 (input), 1 (arena), 2 (output)");
    spec.values.push_back({parse_aval(item), static_cast<Value::Place>(place), integer(item.Get("at"), "at")});
  }
  const Napi::Array nodes = array(from.Get("nodes"), "nodes");
  for (uint32_t i = 0; i < nodes.Length(); ++i) {
    Napi::HandleScope scope(from.Env());
    const Napi::Object item = object(nodes.Get(i), "a node");
    spec.nodes.push_back({text(item.Get("op"), "op"), indices(item.Get("inputs"), "inputs"),
                          indices(item.Get("outputs"), "outputs"), parse_params(item.Get("params"))});
  }
  const Napi::Array outputs = array(from.Get("outputs"), "outputs");
  for (uint32_t i = 0; i < outputs.Length(); ++i) {
    const Napi::Object item = object(outputs.Get(i), "an output");
    const Napi::Value alias = item.Get("alias");
    spec.outputs.push_back({static_cast<int>(integer(item.Get("value"), "value")),
                            alias.IsNumber() ? static_cast<int>(integer(alias, "alias")) : -1});
  }
  return spec;
}

}  // namespace te
