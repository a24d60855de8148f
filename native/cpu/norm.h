// LayerNorm and RMSNorm over the last axis. Statistics are float32 sums collected in double; x is read once from memory
// (a row stays in cache for the second and third look).
//   layer: y = (x - mean) rstd gamma' + beta,  rstd = 1 / sqrt(mean((x - mean)^2) + epsilon)
//   rms:   y = x rstd gamma',                  rstd = 1 / sqrt(mean(x^2) + epsilon)
// gamma' is gamma, or 1 + gamma when zero-centred.
#pragma once
#include <cmath>
#include <limits>
#include <memory>
#include <string>
#include <type_traits>

#include "cpu/rows.h"
#include "cpu/simd/lane_pairs.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline constexpr double kLargestFloat = std::numeric_limits<float>::max();

// A row is x - mean - rest: `mean` is the float32 that is stored, `rest` is what its rounding lost, so that rows with a
// mean much larger than their deviation keep all their digits.
struct RowStatistics {
  float mean = 0, rest = 0, rstd = 0;
};

// The mean of term(0), ..., term(n - 1), where a sum beyond float32 is infinite.
template <class Term>
inline float mean_of(int64_t n, const Term& term) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += static_cast<double>(term(i));
  return static_cast<float>(sum) / static_cast<float>(n);
}

// The definition, step by step, for rows in which a sum is infinite, which makes the mean infinite and no deviation
// from it a number, or squares are, which makes rstd 0.
template <DType T>
[[gnu::noinline]] inline RowStatistics layer_statistics_beyond(const Stored<T>* x, int64_t n, double epsilon) {
  RowStatistics row;
  row.mean = mean_of(n, [&](int64_t i) { return number_at<T>(x + i); });
  row.rest = mean_of(n, [&](int64_t i) { return number_at<T>(x + i) - row.mean; });
  const float variance = mean_of(n, [&](int64_t i) {
    const float d = number_at<T>(x + i) - row.mean - row.rest;
    return d * d;
  });
  row.rstd = static_cast<float>(1.0 / std::sqrt(static_cast<double>(variance) + epsilon));
  return row;
}

// A guess of the mean: that of the first eighth of the row.
template <DType T>
[[gnu::noinline]] inline float guess_mean(const Stored<T>* x, int64_t n) {
  const int64_t sample = std::min(n, std::max<int64_t>(64, n / 8));
  LanePair sum = {};
  for_pairs(sample, [&](int64_t i, auto count) { sum += load_pair<T>(x + i, count); });
  return add_lanes(sum.first + sum.second) / static_cast<float>(sample);
}

// One pass over deviations from the guess. The square of its distance from the mean is at most seven times the
// variance: the subtraction below loses no more than three bits.
template <DType T>
[[gnu::noinline]] inline RowStatistics layer_statistics(const Stored<T>* x, int64_t n, float guess, double epsilon) {
  double sums[2];  // of x - guess and of (x - guess)^2
  accumulate_pairs<2>(n, sums, [=](int64_t i, auto count, LanePair* s) {
    read_ahead_of_pair(x + i);
    LanePair d = map_pair(load_pair<T>(x + i, count), [=](Lanes v) { return v - guess; });
    if constexpr (!std::is_same_v<decltype(count), WholePair>) d = d * present<T>(count);
    s[0] += d;
    s[1] += d * d;
  });
  const double share = 1.0 / static_cast<double>(n), shift = sums[0] * share, mean = static_cast<double>(guess) + shift;
  if (!(sums[1] <= kLargestFloat && std::abs(mean) * static_cast<double>(n) <= kLargestFloat))
    return layer_statistics_beyond<T>(x, n, epsilon);
  const double variance = std::max(sums[1] * share - shift * shift, 0.0);
  RowStatistics row;
  row.mean = static_cast<float>(mean);
  row.rest = static_cast<float>(mean - static_cast<double>(row.mean));
  row.rstd = static_cast<float>(1.0 / std::sqrt(variance + epsilon));
  return row;
}

template <DType T>
[[gnu::noinline]] inline RowStatistics rms_statistics(const Stored<T>* x, int64_t n, double epsilon) {
  double square;
  accumulate_pairs<1>(n, &square, [=](int64_t i, auto count, LanePair* s) {
    read_ahead_of_pair(x + i);
    const LanePair v = load_pair<T>(x + i, count);
    s[0] += v * v;
  });
  RowStatistics row;
  if (square > kLargestFloat) return row;
  row.rstd = static_cast<float>(1.0 / std::sqrt(square / static_cast<double>(n) + epsilon));
  return row;
}

// put(i, count, y) for every step of a row. gamma and beta are in the order of pairs.
template <bool kLayer, DType T, class Put>
inline __attribute__((always_inline)) void normalize_pairs(const Stored<T>* x, int64_t n, RowStatistics row,
                                                           const float* gamma, const float* beta, const Put& put) {
  const float mean = row.mean, rstd = row.rstd, rest = row.rest * rstd;
  for_pairs(n, [=, &put](int64_t i, auto count) {
    const auto xhat = [=](Lanes v) { return kLayer ? (v - mean) * rstd - rest : v * rstd; };
    LanePair result = map_pair(load_pair<T>(x + i, count), xhat) * load_ordered<T>(gamma + i, count);
    if constexpr (kLayer) result += load_ordered<T>(beta + i, count);
    put(i, count, result);
  });
}

// y is in the order of pairs as float32 unless it is stored as T. ahead: see write_ahead.
template <bool kLayer, DType T, bool kStored>
[[gnu::noinline]] inline void normalize_row(const Stored<T>* x, int64_t n, RowStatistics row, const float* gamma,
                                            const float* beta, std::conditional_t<kStored, Stored<T>, float>* y,
                                            int64_t ahead) {
  normalize_pairs<kLayer, T>(x, n, row, gamma, beta, [=](int64_t i, auto count, LanePair result) {
    write_ahead_of_pair(y + i, ahead);
    if constexpr (kStored)
      store_pair<T>(y + i, result, count);
    else
      store_ordered<T>(y + i, result, count);
  });
}

// gamma (or 1 + gamma) as float32.
inline void load_gamma(DType type, const void* gamma, int64_t n, bool zero_centered, float* to) {
  load_row(type, gamma, n, to);
  if (!zero_centered) return;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) to[i] += 1.0f;
}

// Shapes and dtypes of a norm, checked once. Among the inputs, x is number `first` and gamma and (layer) beta follow.
struct NormShape {
  DType x = DType::float32, gamma = DType::float32, beta = DType::float32, y = DType::float32;
  int64_t rows = 0, width = 0;
  double epsilon = 0;
  bool zero_centered = false;

  bool read(const Node& node, int first, bool with_beta, std::string* why) {
    const Aval& input = node.inputs[first];
    if (input.shape.empty()) return *why = "x has no axis to normalise", false;
    for (int i = first; i < first + (with_beta ? 3 : 2); ++i)
      if (!is_float(node.inputs[i].dtype))
        return *why = std::string("no norm of ") + dtype_name(node.inputs[i].dtype), false;
    x = input.dtype;
    gamma = node.inputs[first + 1].dtype;
    if (with_beta) beta = node.inputs[first + 2].dtype;
    y = node.outputs[0].dtype;
    width = input.shape.back();
    rows = 1;
    for (size_t i = 0; i + 1 < input.shape.size(); ++i) rows *= input.shape[i];
    epsilon = node.params.number("epsilon", 1e-6);
    zero_centered = node.params.flag("zeroCenteredGamma");
    return true;
  }
};

// A piece of row x whose results are elements [first, first + n) of y; with gamma and beta as normalize_row wants them.
template <DType T>
struct NormPiece {
  const Stored<T>* x;
  int64_t n, first;
  RowStatistics row;
  const float *gamma, *beta;
};

inline constexpr int64_t kNormPiece = 1024;

// The walk over all rows, in numbers of type T: those of x, or float32, to which rows are converted. put(part, piece)
// computes each piece of y and gives it to the writer. A sum along a row ends in a chain of dependent instructions, so
// narrow rows take each step in groups: the end of one row beside the beginning of the next. Scratch: gamma and beta as
// float32, then the rows of a group per thread.
template <bool kLayer>
struct NormForward {
  NormShape shape;
  int64_t threads = num_threads(), parts = 1, group = 1;

  explicit NormForward(const NormShape& s)
      : shape(s),
        parts(parts_for_team(s.rows, s.width)),
        group(std::clamp<int64_t>(kGroupFloats / std::max<int64_t>(s.width, 1), 1, kLargestGroup)) {}

  size_t scratch_bytes() const { return static_cast<size_t>((2 + group * threads) * padded_floats(shape.width)) * 4; }

  template <DType T, class Put>
  void run(const Call& call, const RowWriter& writer, float* mean, float* rstd, const Put& put) const {
    const int64_t n = shape.width, pitch = padded_floats(n);
    float* gamma = static_cast<float*>(call.scratch);
    float* beta = gamma + pitch;
    load_gamma(shape.gamma, call.in[1], n, shape.zero_centered, gamma);
    pair_order<T>(gamma, n);
    if (kLayer) {
      load_row(shape.beta, call.in[2], n, beta);
      pair_order<T>(beta, n);
    }
    for_parts(shape.rows, parts, [&](int64_t part, int64_t begin, int64_t end) {
      float* buffers = beta + (1 + group * worker()) * pitch;
      Row<T> rows[kLargestGroup];
      for (int64_t first = begin; first < end; first += group) {
        const int64_t count = std::min(group, end - first);
        for (int64_t r = 0; r < count; ++r) {
          Stored<T>* buffer = reinterpret_cast<Stored<T>*>(buffers + r * pitch);
          rows[r].x = row_in(shape.x, call.in[0], (first + r) * n, n, buffer);
          if (kLayer) rows[r].guess = guess_mean<T>(rows[r].x, n);
        }
        for (int64_t r = 0; r < count; ++r) {
          Row<T>& row = rows[r];
          row.statistics = kLayer ? layer_statistics<T>(row.x, n, row.guess, shape.epsilon)
                                  : rms_statistics<T>(row.x, n, shape.epsilon);
          if (kLayer) mean[first + r] = row.statistics.mean;
          rstd[first + r] = row.statistics.rstd;
        }
        for (int64_t r = 0; r < count; ++r)
          for (int64_t i = 0; i < n; i += kNormPiece)
            put(part, NormPiece<T>{rows[r].x + i, std::min(kNormPiece, n - i), (first + r) * n + i, rows[r].statistics,
                                   gamma + i, beta + i});
      }
      writer.finish();
    });
  }

 private:
  static constexpr int64_t kLargestGroup = 8, kGroupFloats = 4096;
  template <DType T>
  struct Row {
    const Stored<T>* x;
    float guess;
    RowStatistics statistics;
  };
};

// y, [mean,] rstd.
template <bool kLayer>
class NormKernel : public Kernel {
 public:
  explicit NormKernel(const NormShape& shape) : forward_(shape) {}
  size_t scratch_bytes() const override { return forward_.scratch_bytes(); }

  void run(const Call& call) override {
    const NormShape& s = forward_.shape;
    const RowWriter writer(s.y, call.out[0], s.rows * s.width);
    float *mean = kLayer ? call.output<float>(1) : nullptr, *rstd = call.output<float>(kLayer ? 2 : 1);
    with_float_type(s.x == s.y ? s.y : DType::float32, [&](auto type) { run_in<type()>(call, writer, mean, rstd); });
  }

 private:
  template <DType T>
  void run_in(const Call& call, const RowWriter& writer, float* mean, float* rstd) const {
    forward_.template run<T>(call, writer, mean, rstd, [&](int64_t, const NormPiece<T>& p) {
      alignas(64) Stored<T> buffer[kNormPiece];
      Stored<T>* y = writer.at(p.first, buffer);
      normalize_row<kLayer, T, true>(p.x, p.n, p.row, p.gamma, p.beta, y, writer.ahead<Stored<T>>());
      writer.done(y, p.n, p.first);
    });
  }

  NormForward<kLayer> forward_;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
