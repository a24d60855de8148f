// transpose(x){perm} → y: y's axis i is x's axis perm[i]. Pure movement of bytes, for every dtype.
// te: once
#include <string>

#include "cpu/permute.h"
#include "te/kernel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Transpose : public Kernel {
 public:
  explicit Transpose(Permutation permutation) : permutation_(std::move(permutation)) {}
  void run(const Call& call) override { permutation_.run(call.in[0], call.out[0]); }

 private:
  Permutation permutation_;
};

std::unique_ptr<Kernel> prepare_transpose(const Node& node, std::string* why) {
  if (!node.params.only({"perm"}, why)) return nullptr;
  const Aval& x = node.inputs[0];
  const std::vector<int64_t> perm = node.params.integers("perm");
  std::vector<bool> seen(x.shape.size());
  bool valid = perm.size() == x.shape.size() && node.outputs[0].bytes() == x.bytes();
  for (int64_t axis : perm) {
    valid = valid && axis >= 0 && axis < static_cast<int64_t>(seen.size()) && !seen[static_cast<size_t>(axis)];
    if (valid) seen[static_cast<size_t>(axis)] = true;
  }
  if (!valid) {
    *why = "perm must name every axis of x once";
    return nullptr;
  }
  return std::make_unique<Transpose>(Permutation(x.shape, perm, dtype_bytes(x.dtype)));
}

}  // namespace
TE_KERNEL(transpose, prepare_transpose);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
