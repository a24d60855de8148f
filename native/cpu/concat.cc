// concat(inputs...){axis} → y, and pad(x){low, high, value} → y.
// te: once
#include <string>

#include "cpu/fill_value.h"
#include "cpu/simd/convert.h"
#include "cpu/strided.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Concat : public Kernel {
 public:
  Concat(const Node& node, size_t axis) {
    const Aval& y = node.outputs[0];
    const std::vector<int64_t> out = strides_of(y.shape);
    int64_t offset = 0;
    for (const Aval& x : node.inputs) {
      copies_.emplace_back(x.shape, strides_of(x.shape), out, dtype_bytes(x.dtype));
      offsets_.push_back(offset);
      offset += x.shape[axis] * out[axis];
    }
  }

  void run(const Call& call) override {
    for (size_t i = 0; i < copies_.size(); ++i) copies_[i].run(call.in[i], 0, call.out[0], offsets_[i]);
  }

 private:
  std::vector<StridedCopy> copies_;
  std::vector<int64_t> offsets_;
};

std::unique_ptr<Kernel> prepare_concat(const Node& node, std::string* why) {
  if (!node.params.only({"axis"}, why)) return nullptr;
  const int64_t rank = static_cast<int64_t>(node.outputs[0].shape.size());
  int64_t axis = node.params.integer("axis");
  if (axis < 0) axis += rank;
  if (axis < 0 || axis >= rank) {
    *why = "an axis that y does not have";
    return nullptr;
  }
  int64_t total = 0;
  for (const Aval& x : node.inputs) {
    if (static_cast<int64_t>(x.shape.size()) != rank || x.dtype != node.outputs[0].dtype) {
      *why = "inputs of different rank or dtype";
      return nullptr;
    }
    total += x.shape[static_cast<size_t>(axis)];
  }
  if (total != node.outputs[0].shape[static_cast<size_t>(axis)]) {
    *why = "the lengths along axis do not add up";
    return nullptr;
  }
  return std::make_unique<Concat>(node, static_cast<size_t>(axis));
}

class Pad : public Kernel {
 public:
  Pad(const Aval& x, const Aval& y, int64_t offset, double value)
      : copy_(x.shape, strides_of(x.shape), strides_of(y.shape), dtype_bytes(x.dtype)),
        offset_(offset),
        size_(y.size()),
        value_(y.dtype, value) {}

  void run(const Call& call) override {
    value_.fill(call.out[0], size_);
    copy_.run(call.in[0], 0, call.out[0], offset_);
  }

 private:
  StridedCopy copy_;
  int64_t offset_, size_;
  FillValue value_;
};

std::unique_ptr<Kernel> prepare_pad(const Node& node, std::string* why) {
  if (!node.params.only({"low", "high", "value"}, why)) return nullptr;
  const Aval &x = node.inputs[0], &y = node.outputs[0];
  const std::vector<int64_t> low = node.params.integers("low"), high = node.params.integers("high");
  const std::vector<int64_t> out = strides_of(y.shape);
  int64_t offset = 0;
  for (size_t i = 0; i < x.shape.size(); ++i) {
    if (i >= low.size() || i >= high.size() || low[i] < 0 || high[i] < 0 ||
        low[i] + x.shape[i] + high[i] != y.shape[i]) {
      *why = "low and high do not fit the shapes";
      return nullptr;
    }
    offset += low[i] * out[i];
  }
  return std::make_unique<Pad>(x, y, offset, node.params.number("value"));
}

}  // namespace
TE_KERNEL(concat, prepare_concat);
TE_KERNEL(pad, prepare_pad);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
