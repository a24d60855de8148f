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
  const Aval& x = node.inputs[0];
  std::vector<int64_t> perm;
  if (!read_transpose(node, &perm, why)) return nullptr;
  return std::make_unique<Transpose>(Permutation(x.shape, perm, dtype_bytes(x.dtype)));
}

}  // namespace
TE_KERNEL(transpose, prepare_transpose);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
