// The processes that take part in a collective, and what they send each other.
#pragma once
#include <string>
#include <vector>

#include "plan/collective.h"
#include "te/world.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

using Group = RankGroup;

inline bool read_group(const Node& node, Group* group, std::string* why) {
  return te::read_group(node, world_rank(), world_size(), group, why);
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
