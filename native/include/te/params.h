// The parameters of an op, by name. A kernel reads what it knows; `only` makes it decline what it does not.
#pragma once
#include <cstdint>
#include <initializer_list>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace te {

class Params {
 public:
  using Value = std::variant<bool, double, std::string, std::vector<double>, std::vector<std::string>>;
  void set(const std::string& name, Value value) { values_[name] = std::move(value); }
  bool has(const std::string& name) const { return values_.count(name) != 0; }

  double number(const std::string& name, double fallback = 0) const;
  int64_t integer(const std::string& name, int64_t fallback = 0) const;
  bool flag(const std::string& name, bool fallback = false) const;
  std::string text(const std::string& name, const std::string& fallback = "") const;
  std::vector<int64_t> integers(const std::string& name) const;
  std::vector<double> numbers(const std::string& name) const;
  std::vector<std::string> texts(const std::string& name) const;

  // True when every parameter present is one of `known`; otherwise *why names the stranger.
  bool only(std::initializer_list<const char*> known, std::string* why) const;

 private:
  std::map<std::string, Value> values_;
};

}  // namespace te
