// rope: turns pairs of numbers by angles that grow with the position. A position's cosines and sines are computed once
// and used for all its heads (and samples). Of packed tensors the first heads turn and the others are copied.
#include <cmath>
#include <cstring>
#include <string>

#include "cpu/rows.h"
#include "cpu/simd/math.h"
#include "plan/refusals.h"
#include "te/status.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

int64_t checked_position(const int32_t* positions, int64_t row) {
  const int64_t position = positions[row];
  if (position < -kMaxRopePosition || position > kMaxRopePosition)
    throw Error("index", refused_rope_position(position, row));
  return position;
}

class Rope : public Kernel {
 public:
  explicit Rope(const Node& node) : dtype_(node.inputs[0].dtype), wide_(dtype_ == DType::float32) {
    const Shape& shape = node.inputs[0].shape;
    sequence_axis_ = node.params.integer("sequenceAxis", 1);
    length_ = shape[sequence_axis_];
    batch_ = shape[1 - sequence_axis_];
    heads_ = turning_ = shape[shape.size() - 2];
    pairs_ = shape.back() / 2;
    if (const int64_t slots = node.params.integer("slots", 0); slots > 0) turning_ *= slots, heads_ *= shape[2];
    alternate_ = node.params.text("method", "consecutive") == "alternate";
    sign_ = node.params.flag("inverse") ? -1 : 1;
    has_positions_ = node.inputs.size() > 1 && node.inputs[1].present;
    per_sample_ = has_positions_ && node.inputs[1].shape.size() == 2;
    const double low = node.params.number("windowMin", 1), high = node.params.number("windowMax", 10000);
    for (int64_t i = 0; i < pairs_; ++i) {
      const double timescale = low * std::pow(high / low, static_cast<double>(i) / static_cast<double>(pairs_));
      turns_.push_back(1 / timescale / (2 * M_PI));
    }
    threads_ = num_threads();
  }

  size_t scratch_bytes() const override { return static_cast<size_t>(threads_ * thread_floats()) * sizeof(float); }

  void run(const Call& call) override {
    // Samples share a row of angles unless each has positions of its own.
    const int64_t rows = per_sample_ ? batch_ * length_ : length_, samples = per_sample_ ? 1 : batch_;
    for_parts(rows, parts_for_team(rows, samples * width()), [&](int64_t, int64_t begin, int64_t end) {
      float* angles = static_cast<float*>(call.scratch) + worker() * thread_floats();
      for (int64_t row = begin; row < end; ++row) {
        const int64_t i = row % length_, first = row / length_;
        set_angles(has_positions_ ? checked_position(call.input<int32_t>(1), row) : i, angles);
        for (int64_t b = first; b < first + samples; ++b) {
          turn(call, sequence_axis_ == 1 ? b * length_ + i : i * batch_ + b, angles);
        }
      }
    });
  }

 private:
  int64_t width() const { return heads_ * pairs_ * 2; }
  int64_t turning_width() const { return turning_ * pairs_ * 2; }
  int64_t thread_floats() const { return 2 * padded_floats(pairs_) + 2 * padded_floats(turning_width()); }

  // cos and sin of the position's angles. Whole and quarter turns are dropped in double, so that large positions keep
  // float32's precision.
  void set_angles(int64_t position, float* angles) const {
    float *cosine = angles, *sine = angles + padded_floats(pairs_);
    const double at = static_cast<double>(position), magic = 6755399441055744.0;  // 1.5 * 2^52: rounds to whole numbers
    const double* turns = turns_.data();
#pragma omp simd
    for (int64_t i = 0; i < pairs_; ++i) {
      const double quarters = 4 * (at * turns[i]), shifted = quarters + magic;
      const double r = (quarters - (shifted - magic)) * M_PI_2;
      const int32_t n = static_cast<int32_t>(static_cast<uint32_t>(std::bit_cast<uint64_t>(shifted)));
      sine[i] = sign_ * simd_detail::sine_of({r, n});
      cosine[i] = simd_detail::sine_of({r, n + 1});
    }
  }

  // Turns the heads of one row of x that turn, and copies the others.
  void turn(const Call& call, int64_t row, float* scratch) const {
    const float *cosine = scratch, *sine = scratch + padded_floats(pairs_);
    float *in = scratch + 2 * padded_floats(pairs_), *out = in + padded_floats(turning_width());
    const float* x = row_in(dtype_, call.in[0], row * width(), turning_width(), in);
    float* y = wide_ ? call.output<float>(0) + row * width() : out;
    for (int64_t head = 0; head < turning_; ++head, x += 2 * pairs_, y += 2 * pairs_) {
      if (alternate_)
        turn_halves(cosine, sine, x, y);
      else
        turn_neighbours(cosine, sine, x, y);
    }
    if (!wide_) store_row(dtype_, out, turning_width(), at(dtype_, call.out[0], row * width()));
    const int64_t rest = row * width() + turning_width();
    if (turning_ < heads_ && call.in[0] != call.out[0])
      std::memcpy(at(dtype_, call.out[0], rest), at(dtype_, call.in[0], rest),
                  static_cast<size_t>(width() - turning_width()) * dtype_bytes(dtype_));
  }

  // x and y may be the same memory; each pair is read before it is written.
  void turn_halves(const float* cosine, const float* sine, const float* x, float* y) const {
#pragma omp simd
    for (int64_t i = 0; i < pairs_; ++i) {
      const float u = x[i], v = x[i + pairs_];
      y[i] = u * cosine[i] - v * sine[i];
      y[i + pairs_] = v * cosine[i] + u * sine[i];
    }
  }

  void turn_neighbours(const float* cosine, const float* sine, const float* x, float* y) const {
#pragma omp simd
    for (int64_t i = 0; i < pairs_; ++i) {
      const float u = x[2 * i], v = x[2 * i + 1];
      y[2 * i] = u * cosine[i] - v * sine[i];
      y[2 * i + 1] = v * cosine[i] + u * sine[i];
    }
  }

  DType dtype_;
  bool wide_, alternate_, has_positions_, per_sample_;
  float sign_;
  int64_t sequence_axis_, length_, batch_, heads_, turning_, pairs_, threads_;
  std::vector<double> turns_;  // per position, of each pair
};

std::unique_ptr<Kernel> prepare_rope(const Node& node, std::string* why) {
  if (!node.params.only({"method", "windowMin", "windowMax", "sequenceAxis", "slots", "inverse"}, why)) return nullptr;
  if (!is_float(node.inputs[0].dtype))
    return decline(why, std::string("x of dtype ") + dtype_name(node.inputs[0].dtype));
  const std::string method = node.params.text("method", "consecutive");
  if (method != "consecutive" && method != "alternate") return decline(why, std::string("method ") + method);
  return std::make_unique<Rope>(node);
}

}  // namespace
TE_KERNEL(rope, prepare_rope);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
