// reshape(x) and copy(x): the same bytes. The planner usually makes a reshape a view and never calls this.
// te: once
#include <cstring>

#include "te/kernel.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Copy : public Kernel {
 public:
  explicit Copy(size_t bytes) : bytes_(bytes) {}

  void run(const Call& call) override {
    const char* from = call.input<char>(0);
    char* to = call.output<char>(0);
    if (from == to) return;
    parallel_for(static_cast<int64_t>(bytes_), 1 << 18, [&](int64_t begin, int64_t end) {
      std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
    });
  }

 private:
  size_t bytes_;
};

std::unique_ptr<Kernel> prepare_copy(const Node& node, std::string* why) {
  if (!node.params.only({"shape"}, why)) return nullptr;
  if (node.inputs.size() != 1 || node.outputs.size() != 1 || node.inputs[0].dtype != node.outputs[0].dtype ||
      node.inputs[0].size() != node.outputs[0].size()) {
    *why = "input and output differ in dtype or number of elements";
    return nullptr;
  }
  return std::make_unique<Copy>(node.inputs[0].bytes());
}

}  // namespace

TE_KERNEL(reshape, prepare_copy);
TE_KERNEL(copy, prepare_copy);

}  // namespace TE_ISA_NAMESPACE
}  // namespace te
