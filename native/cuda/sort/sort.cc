// sort(x){axis, descending} → (values, indices). Stable; NaN comes last either way; -0 equals 0.
#include "cuda/registration.h"
#include "cuda/sort/sorter.h"

namespace te::cuda {
namespace {

class Sort : public Kernel {
 public:
  explicit Sort(Sorter sorter) : sorter_(sorter) {}
  size_t scratch_bytes() const override { return sorter_.scratch_bytes(); }
  std::string path() const override { return sorter_.short_rows() ? "short rows" : "long rows"; }
  void run(const Call& call) override { sorter_.run(call.in[0], call.out[0], call.output<int32_t>(1), call.scratch); }

 private:
  Sorter sorter_;
};

std::unique_ptr<Kernel> prepare_sort(const Node& node, std::string* why) {
  if (!node.params.only({"axis", "descending"}, why)) return nullptr;
  AroundAxis around;
  if (!around_axis(node.inputs[0].shape, node.params.integer("axis"), &around, why)) return nullptr;
  if (around.length > INT32_MAX) {
    *why = "an axis longer than an index";
    return nullptr;
  }
  return std::make_unique<Sort>(Sorter(around, node.inputs[0].dtype, node.params.flag("descending")));
}
TE_CUDA_KERNEL(sort, prepare_sort);

}  // namespace
}  // namespace te::cuda
