// dropout(x, key) -> y = x keep / (1 - rate). Element i of the mask, whose shape is that of x with length 1 along
// broadcastDims, is kept when uniform(key)[i] < 1 - rate. A dropped element is 0 whatever x holds. The op is its own
// adjoint.
#include <vector>

#include "cpu/rows.h"
#include "cpu/threefry.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// x as alternating runs of axes that share the mask and axes that do not, without axes of length 1. Where the last run
// shares the mask, a row has one factor; otherwise a row has consecutive ones.
struct DropoutRuns {
  std::vector<int64_t> shape, mask_stride;
  bool shared_row = false;
  int64_t rows = 1, width = 1;

  DropoutRuns(const Shape& x, const std::vector<int64_t>& broadcast) {
    std::vector<bool> shared;
    for (size_t i = 0; i < x.size(); ++i) {
      if (x[i] == 1) continue;
      const bool is_shared = std::find(broadcast.begin(), broadcast.end(), static_cast<int64_t>(i)) != broadcast.end();
      if (!shape.empty() && shared.back() == is_shared) {
        shape.back() *= x[i];
      } else {
        shape.push_back(x[i]);
        shared.push_back(is_shared);
      }
    }
    if (shape.empty()) shape = {1}, shared = {false};
    mask_stride.resize(shape.size());
    int64_t stride = 1;
    for (size_t i = shape.size(); i-- > 0;) {
      mask_stride[i] = shared[i] ? 0 : stride;
      if (!shared[i]) stride *= shape[i];
    }
    shared_row = shared.back();
    width = shape.back();
    for (size_t i = 0; i + 1 < shape.size(); ++i) rows *= shape[i];
  }

  // The mask element of the first element of a row.
  int64_t mask_of_row(int64_t row) const {
    int64_t index = 0;
    for (size_t i = shape.size() - 1; i-- > 0;) {
      index += row % shape[i] * mask_stride[i];
      row /= shape[i];
    }
    return index;
  }
};

class Dropout : public Kernel {
 public:
  Dropout(const Node& node)
      : x_(node.inputs[0].dtype),
        y_(node.outputs[0].dtype),
        rate_(node.params.number("rate", 0.5)),
        runs_(node.inputs[0].shape, node.params.integers("broadcastDims")) {}

  void run(const Call& call) override {
    const int64_t per_row = (runs_.width + kPiece - 1) / kPiece, pieces = runs_.rows * per_row;
    const RowWriter writer(y_, call.out[0], runs_.rows * runs_.width);
    for_parts(pieces, parts_for_team(pieces, 4 * std::min(kPiece, runs_.width)),
              [&](int64_t, int64_t begin, int64_t end) {
                for (int64_t piece = begin; piece < end; ++piece)
                  run_piece(call, writer, piece / per_row, piece % per_row * kPiece);
                writer.finish();
              });
  }

 private:
  static constexpr int64_t kPiece = 1024;

  void run_piece(const Call& call, const RowWriter& writer, int64_t row, int64_t offset) const {
    alignas(64) float decoded[kPiece], factor[kPiece], buffer[kPiece];
    const uint32_t* key = call.input<uint32_t>(1);
    const int64_t n = std::min(kPiece, runs_.width - offset), first = row * runs_.width + offset;
    const int64_t counter = runs_.mask_of_row(row) + (runs_.shared_row ? 0 : offset);
    threefry_dropout_row(key[0], key[1], static_cast<uint64_t>(counter), runs_.shared_row ? 1 : n, rate_, factor);
    if (runs_.shared_row) std::fill(factor + 1, factor + n, factor[0]);
    const float* x = row_in(x_, call.in[0], first, n, decoded);
    float* y = writer.at(first, buffer);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = factor[i] == 0.0f ? 0.0f : x[i] * factor[i];
    writer.done(y, n, first);
  }

  DType x_, y_;
  double rate_;
  DropoutRuns runs_;
};

std::unique_ptr<Kernel> prepare_dropout(const Node& node, std::string* why) {
  if (!node.params.only({"rate", "broadcastDims"}, why)) return nullptr;
  if (!is_float(node.inputs[0].dtype) || !is_float(node.outputs[0].dtype))
    return decline(why, std::string("no dropout of ") + dtype_name(node.inputs[0].dtype));
  if (node.inputs[1].dtype != DType::uint32 || node.inputs[1].size() != 2) return decline(why, "key must be uint32[2]");
  const double rate = node.params.number("rate", 0.5);
  if (!(rate >= 0 && rate <= 1)) return decline(why, "rate must lie in [0, 1]");
  return std::make_unique<Dropout>(node);
}

TE_KERNEL(dropout, prepare_dropout);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
