// Reading nodes in which processes exchange.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "te/kernel.h"
#include "te/world.h"

namespace te {

// `ranks` are the members in order, `place` is this process's among them.
struct RankGroup {
  std::vector<int> ranks;
  int64_t place = 0;
  Purpose purpose;
  int64_t size() const { return static_cast<int64_t>(ranks.size()); }
};

// For rank `own` of a world of `all`.
inline bool read_group(const Node& node, int own, int all, RankGroup* group, std::string* why) {
  if (!node.params.only({"ranks", "place", "reduction", "sources", "targets", "program", "purpose"}, why)) return false;
  for (const int64_t rank : node.params.integers("ranks")) {
    if (rank < 0 || rank >= all) {
      *why = "rank " + std::to_string(rank) + " is not in the world of " + std::to_string(all);
      return false;
    }
    group->ranks.push_back(static_cast<int>(rank));
  }
  group->place = node.params.integer("place");
  const bool is_ours =
      group->place >= 0 && group->place < group->size() && group->ranks[static_cast<size_t>(group->place)] == own;
  if (!is_ours) *why = "place must be that of rank " + std::to_string(own) + ", which this process is";
  group->purpose.what = node.op + " for " + node.params.text("purpose");
  group->purpose.program = static_cast<uint32_t>(node.params.integer("program"));
  return is_ours;
}

// The place that what is at `place` goes to, where `from` goes to `to`, one by one; -1 where it goes to none.
inline int64_t partner(const std::vector<int64_t>& from, const std::vector<int64_t>& to, int64_t place) {
  for (size_t i = 0; i < from.size(); ++i)
    if (from[i] == place) return to[i];
  return -1;
}

enum class Reduction { sum, max, min };

// Whether elements of this dtype can be combined, and how.
inline bool read_reduction(const Node& node, Reduction* reduction, std::string* why) {
  const std::string name = node.params.text("reduction");
  *reduction = name == "max" ? Reduction::max : name == "min" ? Reduction::min : Reduction::sum;
  const DType type = node.inputs[0].dtype;
  switch (type) {
    case DType::float32:
    case DType::bfloat16:
    case DType::float16:
    case DType::float8_e4m3fn:
    case DType::float8_e5m2:
    case DType::int32:
    case DType::uint32:
    case DType::uint8:
      return true;
    case DType::boolean:
      if (name != "sum") return true;
      break;
    default:
      break;
  }
  *why = name + " of " + dtype_name(type);
  return false;
}

}  // namespace te
