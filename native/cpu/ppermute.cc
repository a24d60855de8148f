// ppermute(x) → y: what the member at sources[i] of a group has as x goes to the one at targets[i]; a member that
// nothing goes to gets zeros. Only who sends to whom exchanges anything.
// te: once
#include <cstring>

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

#include "cpu/group.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Ppermute : public Collective {
 public:
  Ppermute(Group group, const std::vector<int64_t>& sources, const std::vector<int64_t>& targets, size_t bytes)
      : group_(std::move(group)),
        target_(partner(sources, targets, group_.place)),
        source_(partner(targets, sources, group_.place)),
        bytes_(bytes) {}

  void run(const Call& call) override {
    if (source_ < 0) std::memset(call.out[0], 0, bytes_);
    if (source_ == group_.place) std::memcpy(call.out[0], call.in[0], bytes_);
    std::vector<Parcel> parcels;
    for (int64_t k = 0; k < group_.size(); ++k) {
      if (k == group_.place || (k != source_ && k != target_)) continue;
      parcels.push_back({group_.ranks[static_cast<size_t>(k)], call.in[0], k == target_ ? bytes_ : 0, call.out[0],
                         k == source_ ? bytes_ : 0});
    }
    exchange(parcels, group_.purpose);
  }

 private:
  Group group_;
  int64_t target_, source_;  // places; -1: nobody
  size_t bytes_;
};

std::unique_ptr<Kernel> prepare_ppermute(const Node& node, std::string* why) {
  Group group;
  if (!read_group(node, &group, why)) return nullptr;
  const auto sources = node.params.integers("sources"), targets = node.params.integers("targets");
  if (sources.size() != targets.size()) {
    *why = "sources and targets must be as many";
    return nullptr;
  }
  return std::make_unique<Ppermute>(std::move(group), sources, targets, node.inputs[0].bytes());
}

}  // namespace
TE_KERNEL(ppermute, prepare_ppermute);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
