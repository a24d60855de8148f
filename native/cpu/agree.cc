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
#include "plan/program_texts.h"
#include "te/status.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

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
    const std::string why = explain_programs(group_.ranks, collect(text));
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
