// Reading parameters by name and kind.
#include "te/params.h"

#include <cmath>

namespace te {
namespace {

template <class T>
const T* find(const std::map<std::string, Params::Value>& values, const std::string& name) {
  const auto it = values.find(name);
  return it == values.end() ? nullptr : std::get_if<T>(&it->second);
}

}  // namespace

double Params::number(const std::string& name, double fallback) const {
  const double* value = find<double>(values_, name);
  return value ? *value : fallback;
}

int64_t Params::integer(const std::string& name, int64_t fallback) const {
  const double* value = find<double>(values_, name);
  return value && std::abs(*value) < 9007199254740992.0 ? static_cast<int64_t>(*value) : fallback;
}

bool Params::flag(const std::string& name, bool fallback) const {
  const bool* value = find<bool>(values_, name);
  return value ? *value : fallback;
}

std::string Params::text(const std::string& name, const std::string& fallback) const {
  const std::string* value = find<std::string>(values_, name);
  return value ? *value : fallback;
}

std::vector<int64_t> Params::integers(const std::string& name) const {
  const std::vector<double>* list = find<std::vector<double>>(values_, name);
  return list ? std::vector<int64_t>(list->begin(), list->end()) : std::vector<int64_t>{};
}

std::vector<double> Params::numbers(const std::string& name) const {
  const std::vector<double>* list = find<std::vector<double>>(values_, name);
  return list ? *list : std::vector<double>{};
}

// An empty list has no element type on the wire and arrives as a list of numbers.
std::vector<std::string> Params::texts(const std::string& name) const {
  const std::vector<std::string>* list = find<std::vector<std::string>>(values_, name);
  return list ? *list : std::vector<std::string>{};
}

bool Params::only(std::initializer_list<const char*> known, std::string* why) const {
  for (const auto& [name, value] : values_) {
    bool found = false;
    for (const char* k : known) found = found || name == k;
    if (!found) {
      *why = "parameter '" + name + "' is not known to this kernel";
      return false;
    }
  }
  return true;
}

}  // namespace te
