// Nodes and programs, as JavaScript describes them.
#include "node/parse.h"

namespace te {
namespace {

[[noreturn]] void malformed(const std::string& what) { throw Error("state", "native: " + what); }

Aval parse_aval(const Js& from) {
  if (from.is_null()) return {{}, DType::float32, false};
  Aval aval;
  const std::string name = from.get("dtype").text("dtype");
  if (!dtype_from_name(name, &aval.dtype)) malformed("dtype '" + name + "' is not known");
  const Js shape = from.get("shape");
  const uint32_t rank = shape.length("shape");
  for (uint32_t i = 0; i < rank; ++i) {
    aval.shape.push_back(shape.at(i).integer("a dimension"));
    if (aval.shape.back() < 0) malformed("a dimension is negative");
  }
  return aval;
}

Params::Value parse_list(const Js& list, const std::string& name) {
  const uint32_t length = list.length(name.c_str());
  if (length > 0 && list.at(0).type() == napi_string) {
    std::vector<std::string> texts;
    for (uint32_t i = 0; i < length; ++i) texts.push_back(list.at(i).text(name.c_str()));
    return texts;
  }
  std::vector<double> numbers;
  for (uint32_t i = 0; i < length; ++i) {
    const Js item = list.at(i);
    if (item.type() != napi_number) malformed("parameter '" + name + "' holds neither numbers nor strings");
    numbers.push_back(item.number(name.c_str()));
  }
  return numbers;
}

Params parse_params(const Js& from) {
  Params params;
  if (from.is_null()) return params;
  if (from.type() != napi_object) malformed("params is not an object");
  const Js names = from.names();
  const uint32_t count = names.length("params");
  for (uint32_t i = 0; i < count; ++i) {
    const std::string name = names.at(i).text("a parameter's name");
    const Js item = from.get(name.c_str());
    const napi_valuetype type = item.type();
    if (type == napi_boolean)
      params.set(name, item.boolean(name.c_str()));
    else if (type == napi_number)
      params.set(name, item.number(name.c_str()));
    else if (type == napi_string)
      params.set(name, item.text(name.c_str()));
    else if (item.is_array())
      params.set(name, parse_list(item, name));
    else
      malformed("parameter '" + name + "' is neither a boolean, a number, a string nor a list");
  }
  return params;
}

int index(const Js& from, const char* what) {
  const int64_t value = from.integer(what);
  if (value < INT32_MIN || value > INT32_MAX) malformed(std::string(what) + " is out of range");
  return static_cast<int>(value);
}

std::vector<int> indices(const Js& list, const char* what) {
  const uint32_t length = list.length(what);
  std::vector<int> out;
  for (uint32_t i = 0; i < length; ++i) out.push_back(index(list.at(i), what));
  return out;
}

std::vector<Aval> parse_avals(const Js& list, const char* what) {
  const uint32_t length = list.length(what);
  std::vector<Aval> avals;
  for (uint32_t i = 0; i < length; ++i) avals.push_back(parse_aval(list.at(i)));
  return avals;
}

// Calls body(item) on the items of an array, each in a scope of its own.
template <class Body>
void for_each(const Js& list, const char* what, const Body& body) {
  const uint32_t length = list.length(what);
  for (uint32_t i = 0; i < length; ++i) {
    const HandleScope scope(list.env());
    body(list.at(i));
  }
}

}  // namespace

Node parse_node(const Js& from) {
  Node node{from.get("op").text("op"), {}, {}, parse_params(from.get("params"))};
  node.inputs = parse_avals(from.get("inputs"), "inputs");
  node.outputs = parse_avals(from.get("outputs"), "outputs");
  return node;
}

ProgramSpec parse_program(const Js& from) {
  ProgramSpec spec;
  spec.inputs = index(from.get("inputs"), "inputs");
  spec.arena_bytes = from.get("arenaBytes").integer("arenaBytes");
  for_each(from.get("values"), "values", [&](const Js& item) {
    const int64_t place = item.get("kind").integer("kind");
    if (place < 0 || place > 2) malformed("kind is none of 0 (input), 1 (arena), 2 (output)");
    spec.values.push_back({parse_aval(item), static_cast<Value::Place>(place), item.get("at").integer("at")});
  });
  for_each(from.get("nodes"), "nodes", [&](const Js& item) {
    spec.nodes.push_back({item.get("op").text("op"), indices(item.get("inputs"), "inputs"),
                          indices(item.get("outputs"), "outputs"), parse_params(item.get("params"))});
  });
  for_each(from.get("outputs"), "outputs", [&](const Js& item) {
    const Js alias = item.get("alias");
    spec.outputs.push_back({index(item.get("value"), "value"), alias.is_null() ? -1 : index(alias, "alias")});
  });
  if (const Js donated = from.get("donated"); !donated.is_null()) spec.donated = indices(donated, "donated");
  return spec;
}

}  // namespace te
