// agree(x) → y = x, where x is the same text in all members of a group; an error in all processes, which says who has
// which and where they differ first, where it is not. It runs once for each program: the host reads x, which waits for
// the GPU.
#include "cuda/collective/node.h"
#include "plan/program_texts.h"
#include "te/status.h"

namespace te::cuda {
namespace {

class Agree : public Kernel {
 public:
  Agree(const RankGroup& group, std::string name, size_t bytes)
      : group_(group), name_(std::move(name)), bytes_(bytes) {}

  void run(const Call& call) override {
    copy_on_gpu(call.out[0], call.in[0], bytes_);
    const std::string own = name_ + "\n" + read(call.in[0]),
                      first = tell_first(group_, "the first run of a program", own);
    const auto program_of = [](const std::string& text) { return text.substr(text.find('\n')); };
    if (program_of(own) == program_of(first)) return;
    const std::string why = explain_programs({group_.ranks.front(), world_rank()}, {first, own});
    break_world(why);
    throw Error("backend", why);
  }

 private:
  std::string read(const void* from) const {
    std::string text(bytes_, 0);
    check(cudaMemcpyAsync(text.data(), from, bytes_, cudaMemcpyDeviceToHost, stream()), "the GPU");
    check(cudaStreamSynchronize(stream()), "the GPU");
    return text;
  }

  RankGroup group_;
  std::string name_;
  size_t bytes_;
};

std::unique_ptr<Kernel> prepare_agree(const Node& node, std::string* why) {
  RankGroup group;
  if (!read_own_group(node, &group, why)) return nullptr;
  if (node.inputs[0].dtype != DType::uint8) return *why = "x is not uint8", nullptr;
  const size_t bytes = node.inputs[0].bytes();
  if (group.size() == 1) return std::make_unique<Alone>(bytes);
  return std::make_unique<Agree>(group, node.params.text("purpose"), bytes);
}

TE_CUDA_KERNEL(agree, prepare_agree);

}  // namespace
}  // namespace te::cuda
