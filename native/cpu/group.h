// The processes that take part in a collective, as the params of its node name them.
#pragma once
#include <string>
#include <vector>

#include "te/kernel.h"
#include "te/world.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

struct Group {
  std::vector<int> ranks;
  int64_t place = 0;
  Purpose purpose;
  int64_t size() const { return static_cast<int64_t>(ranks.size()); }
};

inline bool read_group(const Node& node, Group* group, std::string* why) {
  if (!node.params.only({"ranks", "place", "reduction", "sources", "targets", "program", "purpose"}, why)) return false;
  for (const int64_t rank : node.params.integers("ranks")) {
    if (rank < 0 || rank >= world_size()) {
      *why = "rank " + std::to_string(rank) + " is not in the world of " + std::to_string(world_size());
      return false;
    }
    group->ranks.push_back(static_cast<int>(rank));
  }
  group->place = node.params.integer("place");
  const bool is_ours = group->place >= 0 && group->place < group->size() &&
                       group->ranks[static_cast<size_t>(group->place)] == world_rank();
  if (!is_ours) *why = "place must be that of rank " + std::to_string(world_rank()) + ", which this process is";
  group->purpose.what = node.op + " for " + node.params.text("purpose");
  group->purpose.program = static_cast<uint32_t>(node.params.integer("program"));
  return is_ours;
}

// A parcel for every other member: body(k) gives that of member k.
template <class Body>
void exchange_with_all(const Group& group, const Body& body) {
  std::vector<Parcel> parcels;
  for (int64_t k = 0; k < group.size(); ++k) {
    if (k == group.place) continue;
    Parcel parcel = body(k);
    parcel.peer = group.ranks[static_cast<size_t>(k)];
    parcels.push_back(parcel);
  }
  exchange(parcels, group.purpose);
}

// A kernel of several processes: it may run aside.
class Collective : public Kernel {
 public:
  bool exchanges() const override { return true; }
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
