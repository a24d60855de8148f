// Programs of several processes as texts: who runs which, and where they differ.
#pragma once
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace te {

constexpr size_t kMostKinds = 4, kMostOfLine = 200;

// "rank 3", "ranks 0, 1 and 4 others".
inline std::string ranks_text(const std::vector<int>& ranks) {
  constexpr size_t kMost = 8;
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < std::min(kMost, ranks.size()); ++i) text += (i > 0 ? ", " : "") + std::to_string(ranks[i]);
  return ranks.size() > kMost ? text + " and " + std::to_string(ranks.size() - kMost) + " others" : text;
}

inline std::string_view line_of(std::string_view text, size_t line) {
  for (; line > 0; --line) {
    const size_t end = text.find('\n');
    if (end == text.npos) return "nothing";
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

inline size_t count_lines(std::string_view text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
}

inline std::string clip(std::string_view line) {
  const size_t start = std::min(line.find_first_not_of(' '), line.size());
  line.remove_prefix(start);
  return line.size() <= kMostOfLine ? std::string(line) : std::string(line.substr(0, kMostOfLine)) + " …";
}

// Who runs what, and the first line in which not all are alike; names of equal programs may differ. A text is the name
// of what a program is of, a line break, and the program.
inline std::string explain_programs(const std::vector<int>& ranks, const std::vector<std::string>& texts) {
  struct Kind {
    std::string_view name, program;
    std::vector<int> ranks;
  };
  std::vector<Kind> kinds;
  for (size_t k = 0; k < texts.size(); ++k) {
    const std::string_view all = texts[k];
    const size_t end = all.find('\n');
    const std::string_view program = all.substr(end + 1);
    const auto same = [&](const Kind& kind) { return kind.program == program; };
    auto found = std::find_if(kinds.begin(), kinds.end(), same);
    if (found == kinds.end()) found = kinds.insert(found, {all.substr(0, end), program, {}});
    found->ranks.push_back(ranks[k]);
  }
  size_t line = 0, lines = 0;
  for (const Kind& kind : kinds) lines = std::max(lines, count_lines(kind.program));
  const auto differs = [&](const Kind& kind) { return line_of(kind.program, line) != line_of(kinds[0].program, line); };
  while (line < lines && std::none_of(kinds.begin(), kinds.end(), differs)) ++line;
  std::string who, what;
  for (size_t i = 0; i < kinds.size(); ++i) {
    const std::string comma = i == 0 ? "" : ", ";
    if (i == kMostKinds) {
      who += ", and others more";
      break;
    }
    const Kind& kind = kinds[i];
    who += comma + ranks_text(kind.ranks) + (kind.ranks.size() == 1 ? " runs " : " run ") + std::string(kind.name);
    what += comma + '"' + clip(line_of(kind.program, line)) + '"';
  }
  return "processes run different programs: " + who + ". " +
         (line == 0 ? "They differ in their inputs: "
                    : "Step " + std::to_string(line) + " is the first that differs: ") +
         what + ". All processes must run the same programs in the same order.";
}

}  // namespace te
