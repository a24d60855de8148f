// dynamic_slice(x, start){sizes} → y and dynamic_update_slice(x, update, start) → y. The start is a value; it is held
// inside so that the window fits.
// te: once
#include <algorithm>
#include <cstring>

#include "cpu/strided.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Element offset of a window of `sizes` in an array of `shape`.
int64_t window_offset(const Shape& shape, const Shape& sizes, const int32_t* start) {
  const std::vector<int64_t>::size_type rank = shape.size();
  int64_t offset = 0, step = 1;
  for (size_t i = rank; i-- > 0;) {
    offset += step * std::clamp<int64_t>(start[i], 0, shape[i] - sizes[i]);
    step *= shape[i];
  }
  return offset;
}

class DynamicSlice : public Kernel {
 public:
  DynamicSlice(const Aval& x, const Shape& sizes)
      : shape_(x.shape), sizes_(sizes), copy_(sizes, strides_of(x.shape), strides_of(sizes), dtype_bytes(x.dtype)) {}
  void run(const Call& call) override {
    copy_.run(call.in[0], window_offset(shape_, sizes_, call.input<int32_t>(1)), call.out[0], 0);
  }

 private:
  Shape shape_, sizes_;
  StridedCopy copy_;
};

std::unique_ptr<Kernel> prepare_dynamic_slice(const Node& node, std::string* why) {
  if (!node.params.only({"sizes"}, why)) return nullptr;
  if (!window_fits(node.inputs[0].shape, node.outputs[0].shape, node.inputs[1], why)) return nullptr;
  return std::make_unique<DynamicSlice>(node.inputs[0], node.outputs[0].shape);
}

class DynamicUpdateSlice : public Kernel {
 public:
  DynamicUpdateSlice(const Aval& x, const Aval& update)
      : bytes_(x.bytes()),
        shape_(x.shape),
        sizes_(update.shape),
        copy_(update.shape, strides_of(update.shape), strides_of(x.shape), dtype_bytes(x.dtype)) {}

  void run(const Call& call) override {
    const char* from = call.input<char>(0);
    char* to = call.output<char>(0);
    if (from != to) {
      parallel_for(static_cast<int64_t>(bytes_), 1 << 18, [&](int64_t begin, int64_t end) {
        std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
      });
    }
    copy_.run(call.in[1], 0, to, window_offset(shape_, sizes_, call.input<int32_t>(2)));
  }

 private:
  size_t bytes_;
  Shape shape_, sizes_;
  StridedCopy copy_;
};

std::unique_ptr<Kernel> prepare_dynamic_update_slice(const Node& node, std::string* why) {
  if (!node.params.only({}, why)) return nullptr;
  if (!window_fits(node.inputs[0].shape, node.inputs[1].shape, node.inputs[2], why)) return nullptr;
  if (node.inputs[0].dtype != node.inputs[1].dtype) {
    *why = "x and update differ in dtype";
    return nullptr;
  }
  return std::make_unique<DynamicUpdateSlice>(node.inputs[0], node.inputs[1]);
}

}  // namespace
TE_KERNEL(dynamic_slice, prepare_dynamic_slice);
TE_KERNEL(dynamic_update_slice, prepare_dynamic_update_slice);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
