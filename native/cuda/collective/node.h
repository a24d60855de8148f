// Reading nodes of collectives on a GPU, and what their kernels share.
#pragma once
#include "cuda/nccl/communicators.h"
#include "cuda/registration.h"
#include "plan/collective.h"

namespace te::cuda {

// The group of the node in the world of this process.
bool read_own_group(const Node& node, RankGroup* group, std::string* why);

// Equal for nodes that do the same, for members of a group to compare.
uint64_t digest_of(const Node& node);

// Queues a copy on stream().
void copy_on_gpu(void* to, const void* from, size_t bytes);

// What a kernel that exchanges with others has in common with others of its kind.
class Exchange : public Kernel {
 public:
  bool exchanges() const override { return true; }

 protected:
  Exchange(const RankGroup& group, uint64_t digest) : collective_(group, digest) {}
  Collective collective_;
};

// A group of one has what it exchanges.
class Alone : public Kernel {
 public:
  explicit Alone(size_t bytes) : bytes_(bytes) {}
  void run(const Call& call) override { copy_on_gpu(call.out[0], call.in[0], bytes_); }

 private:
  size_t bytes_;
};

}  // namespace te::cuda
