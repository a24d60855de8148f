// dynamic_slice(x, start){sizes} → y and dynamic_update_slice(x, update, start) → y. The start is a value, which stays
// on the device; it is held inside so that the window fits.
#include "cuda/move/strided_copy.h"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

WindowStart window_start(const Shape& shape, const Shape& sizes, bool of_output) {
  WindowStart start{shape, strides_of(shape), of_output};
  for (size_t i = 0; i < shape.size(); ++i) start.limit[i] -= sizes[i];
  return start;
}

class DynamicSlice : public Kernel {
 public:
  DynamicSlice(const Aval& x, const Shape& sizes)
      : copy_({sizes, strides_of(x.shape), strides_of(sizes)}, dtype_bytes(x.dtype),
              window_start(x.shape, sizes, false)) {}
  void run(const Call& call) override { copy_.run(call.in[0], call.out[0], call.input<int32_t>(1)); }

 private:
  StridedCopy copy_;
};

std::unique_ptr<Kernel> prepare_dynamic_slice(const Node& node, std::string* why) {
  if (!node.params.only({"sizes"}, why)) return nullptr;
  if (!window_fits(node.inputs[0].shape, node.outputs[0].shape, node.inputs[1], why)) return nullptr;
  return std::make_unique<DynamicSlice>(node.inputs[0], node.outputs[0].shape);
}

// In place, the window alone is written.
class DynamicUpdateSlice : public Kernel {
 public:
  DynamicUpdateSlice(const Aval& x, const Shape& sizes)
      : bytes_(x.bytes()),
        copy_({sizes, strides_of(sizes), strides_of(x.shape)}, dtype_bytes(x.dtype),
              window_start(x.shape, sizes, true)) {}
  void run(const Call& call) override {
    if (call.in[0] != call.out[0] && bytes_ > 0)
      check(cudaMemcpyAsync(call.out[0], call.in[0], bytes_, cudaMemcpyDeviceToDevice, stream()),
            "dynamic_update_slice");
    copy_.run(call.in[1], call.out[0], call.input<int32_t>(2));
  }

 private:
  size_t bytes_;
  StridedCopy copy_;
};

std::unique_ptr<Kernel> prepare_dynamic_update_slice(const Node& node, std::string* why) {
  if (!node.params.only({}, why)) return nullptr;
  if (!window_fits(node.inputs[0].shape, node.inputs[1].shape, node.inputs[2], why)) return nullptr;
  if (node.inputs[0].dtype != node.inputs[1].dtype) {
    *why = "x and update differ in dtype";
    return nullptr;
  }
  return std::make_unique<DynamicUpdateSlice>(node.inputs[0], node.inputs[1].shape);
}

TE_CUDA_KERNEL(dynamic_slice, prepare_dynamic_slice);
TE_CUDA_KERNEL(dynamic_update_slice, prepare_dynamic_update_slice);

}  // namespace
}  // namespace te::cuda
