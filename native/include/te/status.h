// Errors of native code. They cross into JavaScript as TeError with the same code and message.
#pragma once
#include <stdexcept>
#include <string>

namespace te {

class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code(std::move(code)) {}
  std::string code;  // "index", "memory", "backend", ...
};

}  // namespace te
