// What processes exchange unchanged, each with its own part x, in any dtype: bytes.
//   all_gather(x) → y[p, ...], the parts of all
//   all_to_all(x[p, ...]) → y[p, ...], y[k] what member k has at `place`
//   ppermute(x) → y, what the member at sources[i] has where this one is at targets[i], zeros where it is at none
#include "cuda/collective/node.h"

namespace te::cuda {
namespace {

class AllGather : public Exchange {
 public:
  AllGather(const RankGroup& group, uint64_t digest, size_t bytes) : Exchange(group, digest), bytes_(bytes) {}
  void run(const Call& call) override {
    if (bytes_ == 0) return;
    collective_.run([&] { collective_.all_gather(call.in[0], call.out[0], bytes_); });
  }

 private:
  size_t bytes_;
};

class AllToAll : public Exchange {
 public:
  // `bytes`: of one of the parts.
  AllToAll(const RankGroup& group, uint64_t digest, size_t bytes)
      : Exchange(group, digest), size_(group.size()), place_(group.place), bytes_(bytes) {}
  void run(const Call& call) override {
    if (bytes_ == 0) return;
    const auto from = [&](int64_t k) { return call.input<char>(0) + static_cast<size_t>(k) * bytes_; };
    const auto to = [&](int64_t k) { return call.output<char>(0) + static_cast<size_t>(k) * bytes_; };
    copy_on_gpu(to(place_), from(place_), bytes_);
    std::vector<Parcel> parcels;
    for (int64_t k = 0; k < size_; ++k)
      if (k != place_) parcels.push_back({k, from(k), bytes_, to(k), bytes_});
    collective_.run([&] { collective_.exchange(parcels); });
  }

 private:
  int64_t size_, place_;
  size_t bytes_;
};

class Ppermute : public Exchange {
 public:
  // Places to send to and to receive from; -1: nobody.
  Ppermute(const RankGroup& group, uint64_t digest, int64_t target, int64_t source, size_t bytes)
      : Exchange(group, digest),
        size_(group.size()),
        place_(group.place),
        target_(target),
        source_(source),
        bytes_(bytes) {}
  void run(const Call& call) override {
    if (bytes_ == 0) return;
    if (source_ < 0) check(cudaMemsetAsync(call.out[0], 0, bytes_, stream()), "the GPU");
    if (source_ == place_) copy_on_gpu(call.out[0], call.in[0], bytes_);
    std::vector<Parcel> parcels;
    if (target_ >= 0 && target_ != place_) parcels.push_back({target_, call.in[0], bytes_, nullptr, 0});
    if (source_ >= 0 && source_ != place_) parcels.push_back({source_, nullptr, 0, call.out[0], bytes_});
    if (size_ > 1) collective_.run([&] { collective_.exchange(parcels); });
  }

 private:
  int64_t size_, place_, target_, source_;
  size_t bytes_;
};

std::unique_ptr<Kernel> prepare_all_gather(const Node& node, std::string* why) {
  RankGroup group;
  if (!read_own_group(node, &group, why)) return nullptr;
  const size_t bytes = node.inputs[0].bytes();
  if (group.size() == 1) return std::make_unique<Alone>(bytes);
  return std::make_unique<AllGather>(group, digest_of(node), bytes);
}

std::unique_ptr<Kernel> prepare_all_to_all(const Node& node, std::string* why) {
  RankGroup group;
  if (!read_own_group(node, &group, why)) return nullptr;
  const size_t bytes = node.inputs[0].bytes();
  if (group.size() == 1) return std::make_unique<Alone>(bytes);
  return std::make_unique<AllToAll>(group, digest_of(node), bytes / group.ranks.size());
}

std::unique_ptr<Kernel> prepare_ppermute(const Node& node, std::string* why) {
  RankGroup group;
  if (!read_own_group(node, &group, why)) return nullptr;
  const auto sources = node.params.integers("sources"), targets = node.params.integers("targets");
  if (sources.size() != targets.size()) return *why = "sources and targets must be as many", nullptr;
  const size_t bytes = node.inputs[0].bytes();
  const int64_t target = partner(sources, targets, group.place), source = partner(targets, sources, group.place);
  return std::make_unique<Ppermute>(group, digest_of(node), target, source, bytes);
}

TE_CUDA_KERNEL(ppermute, prepare_ppermute);
TE_CUDA_KERNEL(all_gather, prepare_all_gather);
TE_CUDA_KERNEL(all_to_all, prepare_all_to_all);

}  // namespace
}  // namespace te::cuda
