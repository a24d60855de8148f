// Reading environment variables, and the list of what was wrong with them.
#include "te/settings.h"

#include <cstdlib>
#include <mutex>

namespace te {
namespace {

struct Notes {
  std::mutex mutex;
  std::vector<std::string> list;
};

Notes& notes() {
  static auto* all = new Notes;  // outlives every static
  return *all;
}

}  // namespace

std::string setting(const char* name) {
  const char* text = std::getenv(name);
  return text ? text : "";
}

void note_problem(const std::string& problem) {
  std::lock_guard lock(notes().mutex);
  notes().list.push_back(problem);
}

std::vector<std::string> problems() {
  std::lock_guard lock(notes().mutex);
  return notes().list;
}

}  // namespace te
