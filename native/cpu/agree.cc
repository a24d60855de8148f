// agree(x) → y = x, where x is the same text in all members of a group; an error, which says in whom it is which and
// where it differs first, where it is not. Afterwards the members exchange nothing any more.
// te: once
#include <algorithm>
#include <cstring>
#include <string_view>

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

#include "cpu/group.h"
#include "te/status.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

constexpr size_t kMostKinds = 4, kMostOfLine = 200;

// What members tell each other of their texts (FNV-1a).
struct Digest {
  uint64_t hash = 0xcbf29ce484222325, bytes = 0;
  bool operator==(const Digest& other) const { return hash == other.hash && bytes == other.bytes; }
};

Digest digest_of(std::string_view text) {
  Digest digest;
  for (const char c : text) digest.hash = (digest.hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  digest.bytes = text.size();
  return digest;
}

// "rank 3", "ranks 0, 1 and 4 others".
std::string ranks_text(const std::vector<int>& ranks) {
  constexpr size_t kMost = 8;
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < std::min(kMost, ranks.size()); ++i) text += (i > 0 ? ", " : "") + std::to_string(ranks[i]);
  return ranks.size() > kMost ? text + " and " + std::to_string(ranks.size() - kMost) + " others" : text;
}

std::string_view line_of(std::string_view text, size_t line) {
  for (; line > 0; --line) {
    const size_t end = text.find('\n');
    if (end == text.npos) return "nothing";
    text.remove_prefix(end + 1);
  }
  return text.substr(0, text.find('\n'));
}

size_t count_lines(std::string_view text) {
  return static_cast<size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
}

class Agree : public Kernel {
 public:
  Agree(Group group, std::string name, size_t bytes) : group_(std::move(group)), name_(std::move(name)), bytes_(bytes) {
    group_.purpose = {"the first run of a program", 0, name_};
  }

  void run(const Call& call) override {
    const std::string_view text(call.input<char>(0), bytes_);
    const size_t place = static_cast<size_t>(group_.place);
    std::vector<Digest> digests(group_.ranks.size());
    digests[place] = digest_of(text);
    exchange_with_all(group_, [&](int64_t k) {
      return Parcel{0, &digests[place], sizeof(Digest), &digests[static_cast<size_t>(k)], sizeof(Digest)};
    });
    if (std::any_of(digests.begin(), digests.end(), [&](const Digest& of) { return !(of == digests[place]); }))
      refuse(text);
    if (bytes_ > 0) std::memcpy(call.out[0], call.in[0], bytes_);
  }

 private:
  [[noreturn]] void refuse(std::string_view text) {
    const std::string why = "processes run different programs: " + explain(collect(text)) +
                            ". All processes must run the same programs in the same order.";
    break_world(why);
    throw Error("backend", why);
  }

  // The texts of all members, each behind the name of what it is of and a line break.
  std::vector<std::string> collect(std::string_view text) {
    std::vector<std::string> texts(group_.ranks.size());
    std::string& mine = texts[static_cast<size_t>(group_.place)];
    mine = name_ + "\n" + std::string(text);
    std::vector<uint64_t> sizes(texts.size());
    const uint64_t size = mine.size();
    exchange_with_all(group_, [&](int64_t k) {
      return Parcel{0, &size, sizeof size, &sizes[static_cast<size_t>(k)], sizeof size};
    });
    exchange_with_all(group_, [&](int64_t k) {
      std::string& other = texts[static_cast<size_t>(k)];
      other.resize(sizes[static_cast<size_t>(k)]);
      return Parcel{0, mine.data(), mine.size(), other.data(), other.size()};
    });
    return texts;
  }

  // Who runs what, and the first line in which not all are alike; names of equal programs may differ.
  std::string explain(const std::vector<std::string>& texts) const {
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
      found->ranks.push_back(group_.ranks[k]);
    }
    size_t line = 0, lines = 0;
    for (const Kind& kind : kinds) lines = std::max(lines, count_lines(kind.program));
    const auto differs = [&](const Kind& kind) {
      return line_of(kind.program, line) != line_of(kinds[0].program, line);
    };
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
    return who + ". " +
           (line == 0 ? "They differ in their inputs: "
                      : "Step " + std::to_string(line) + " is the first that differs: ") +
           what;
  }

  static std::string clip(std::string_view line) {
    const size_t start = std::min(line.find_first_not_of(' '), line.size());
    line.remove_prefix(start);
    return line.size() <= kMostOfLine ? std::string(line) : std::string(line.substr(0, kMostOfLine)) + " …";
  }

  Group group_;
  std::string name_;
  size_t bytes_;
};

std::unique_ptr<Kernel> prepare_agree(const Node& node, std::string* why) {
  Group group;
  if (!read_group(node, &group, why)) return nullptr;
  if (node.inputs[0].dtype != DType::uint8) {
    *why = "x is not uint8";
    return nullptr;
  }
  return std::make_unique<Agree>(std::move(group), node.params.text("purpose"), node.inputs[0].bytes());
}

}  // namespace
TE_KERNEL(agree, prepare_agree);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
