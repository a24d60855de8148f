// dropout(x, key) -> y = x keep / (1 - rate). Element i of the mask, whose shape is that of x with length 1 along
// broadcastDims, is kept when uniform(key)[i] < 1 - rate. Where x is a part of a tensor of shape `of` that begins at
// `start`, i counts there. A dropped element is 0 whatever x holds. The op is its own adjoint.
#include "cpu/rows.h"
#include "cpu/threefry.h"
#include "plan/draw.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class Dropout : public Kernel {
 public:
  Dropout(const Aval& x, DType y, double rate, const Draw& draw)
      : x_(x.dtype), y_(y), rate_(rate), rows_(x.shape, draw) {}

  void run(const Call& call) override {
    const int64_t per_row = (rows_.width + kPiece - 1) / kPiece, pieces = rows_.rows * per_row;
    const RowWriter writer(y_, call.out[0], rows_.rows * rows_.width);
    for_parts(pieces, parts_for_team(pieces, 4 * std::min(kPiece, rows_.width)),
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
    const int64_t n = std::min(kPiece, rows_.width - offset), first = row * rows_.width + offset;
    const int64_t counter = rows_.counter(row) + (rows_.is_shared ? 0 : offset);
    threefry_dropout_row(key[0], key[1], static_cast<uint64_t>(counter), rows_.is_shared ? 1 : n, rate_, factor);
    if (rows_.is_shared) std::fill(factor + 1, factor + n, factor[0]);
    const float* x = row_in(x_, call.in[0], first, n, decoded);
    float* y = writer.at(first, buffer);
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = factor[i] == 0.0f ? 0.0f : x[i] * factor[i];
    writer.done(y, n, first);
  }

  DType x_, y_;
  double rate_;
  DrawRows rows_;
};

std::unique_ptr<Kernel> prepare_dropout(const Node& node, std::string* why) {
  if (!node.params.only({"rate", "broadcastDims", "of", "start"}, why)) return nullptr;
  if (!is_float(node.inputs[0].dtype) || !is_float(node.outputs[0].dtype))
    return decline(why, std::string("no dropout of ") + dtype_name(node.inputs[0].dtype));
  if (node.inputs[1].dtype != DType::uint32 || node.inputs[1].size() != 2) return decline(why, "key must be uint32[2]");
  const double rate = node.params.number("rate", 0.5);
  if (!(rate >= 0 && rate <= 1)) return decline(why, "rate must lie in [0, 1]");
  Draw draw;
  if (!read_shared_draw(node.inputs[0].shape, node.params.integers("of"), node.params.integers("start"),
                        node.params.integers("broadcastDims"), &draw, why))
    return nullptr;
  return std::make_unique<Dropout>(node.inputs[0], node.outputs[0].dtype, rate, draw);
}

TE_KERNEL(dropout, prepare_dropout);

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
