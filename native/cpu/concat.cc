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
  Concat(const std::vector<StridedMove>& moves, size_t width) {
    for (const StridedMove& move : moves) {
      copies_.emplace_back(move, width);
      offsets_.push_back(move.to);
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
  std::vector<StridedMove> moves;
  if (!read_concat(node, &moves, why)) return nullptr;
  return std::make_unique<Concat>(moves, dtype_bytes(node.outputs[0].dtype));
}

class Pad : public Kernel {
 public:
  Pad(const StridedMove& move, const Aval& y, double value)
      : copy_(move, dtype_bytes(y.dtype)), offset_(move.to), size_(y.size()), value_(y.dtype, value) {}

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
  StridedMove move;
  if (!read_pad(node, &move, why)) return nullptr;
  return std::make_unique<Pad>(move, node.outputs[0], node.params.number("value"));
}

}  // namespace
TE_KERNEL(concat, prepare_concat);
TE_KERNEL(pad, prepare_pad);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
