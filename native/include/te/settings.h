// Environment variables of native code, and what was wrong with them.
#pragma once
#include <string>
#include <vector>

namespace te {

// "" where it is not set.
std::string setting(const char* name);

// Notes one sentence for people: what a setting must be, what it is, and what is used instead.
void note_problem(const std::string& problem);
std::vector<std::string> problems();

}  // namespace te
