// Gradients of LayerNorm and RMSNorm. With xhat = (x - mean) rstd and a = dy gamma':
//   dx = rstd (a - mean(a) - xhat mean(a xhat)),   dgamma = sum over rows of dy xhat,   dbeta = sum over rows of dy
// (rms: without mean and mean(a)). Rows are divided into parts that depend on the shape alone; each part sums dgamma
// and dbeta in float32, 64 rows at a time, and the parts are added in order: the same bits on any number of threads.
#pragma once
#include "cpu/norm.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

struct RowGradientSums {
  double a = 0, ax = 0, x = 0;  // sums of a, a (x - mean) and x - mean
};

template <bool kLayer, DType T>
[[gnu::noinline]] inline RowGradientSums gradient_sums(const Stored<T>* dy, const Stored<T>* x, const float* gamma,
                                                       int64_t n, float mean) {
  constexpr int kSums = kLayer ? 3 : 1;
  double sums[kSums];
  accumulate_pairs<kSums>(n, sums, [=](int64_t i, auto count, LanePair* s) {
    read_ahead_of_pair(dy + i);
    read_ahead_of_pair(x + i);
    const LanePair a = load_pair<T>(dy + i, count) * load_ordered<T>(gamma + i, count);
    LanePair d = load_pair<T>(x + i, count);
    if constexpr (kLayer) {
      d = map_pair(d, [=](Lanes v) { return v - mean; });
      if constexpr (!std::is_same_v<decltype(count), WholePair>) d = d * present<T>(count);
      s[1] += a;
      s[2] += d;
    }
    s[0] += a * d;
  });
  if constexpr (kLayer) return {sums[1], sums[0], sums[2]};
  return {0, sums[0], 0};
}

// What the second pass needs to know of a row: the stored mean and what its rounding lost, and with a the means of a
// and of a xhat.
struct RowGradient {
  float mean = 0, lost = 0, rstd = 0, mean_a = 0, mean_ax = 0;
};

// The definition, step by step, for rows without a deviation or with sums that are not numbers.
template <bool kLayer, DType T>
[[gnu::noinline]] inline RowGradient row_gradient_beyond(const Stored<T>* dy, const Stored<T>* x, const float* gamma,
                                                         int64_t n, float mean, float rstd) {
  RowGradient row{mean, 0, rstd, 0, 0};
  const auto a = [&](int64_t i) { return number_at<T>(dy + i) * gamma[place_in_pairs<T>(i)]; };
  const auto deviation = [&](int64_t i) { return number_at<T>(x + i) - mean; };
  if (kLayer) row.lost = mean_of(n, deviation), row.mean_a = mean_of(n, a);
  row.mean_ax = mean_of(n, [&](int64_t i) { return a(i) * ((deviation(i) - row.lost) * rstd); });
  return row;
}

template <bool kLayer, DType T>
inline RowGradient row_gradient(const Stored<T>* dy, const Stored<T>* x, const float* gamma, int64_t n, float mean,
                                float rstd) {
  const RowGradientSums sums = gradient_sums<kLayer, T>(dy, x, gamma, n, mean);
  if (rstd == 0 || !std::isfinite(sums.a + sums.ax + sums.x))
    return row_gradient_beyond<kLayer, T>(dy, x, gamma, n, mean, rstd);
  const double share = 1.0 / static_cast<double>(n), lost = sums.x * share, mean_a = sums.a * share;
  const double mean_ax = static_cast<double>(rstd) * (sums.ax * share - lost * mean_a);
  return {mean, static_cast<float>(lost), rstd, static_cast<float>(mean_a), static_cast<float>(mean_ax)};
}

// kRows rows at once, so that dgamma and dbeta are read and written once for all of them. These two and gamma are in
// the order of pairs. ahead: see write_ahead.
template <bool kLayer, DType T, int kRows>
[[gnu::noinline]] inline void backward_rows(const Stored<T>* const* dy, const Stored<T>* const* x,
                                            const RowGradient* rows, const float* gamma, int64_t n,
                                            Stored<T>* const* dx, int64_t ahead, float* dgamma, float* dbeta) {
  float mean[kRows], rstd[kRows], lost[kRows], c1[kRows], c2[kRows];  // copies stay in registers
  for (int r = 0; r < kRows; ++r) {
    mean[r] = rows[r].mean;
    rstd[r] = rows[r].rstd;
    lost[r] = rows[r].lost * rows[r].rstd;
    c1[r] = rows[r].mean_a * rows[r].rstd;
    c2[r] = rows[r].mean_ax * rows[r].rstd;
  }
  for_pairs(n, [&](int64_t i, auto count) {
    const LanePair scale = load_ordered<T>(gamma + i, count);
    LanePair sum_gamma = load_ordered<T>(dgamma + i, count), sum_beta = {}, result[kRows];
    if constexpr (kLayer) sum_beta = load_ordered<T>(dbeta + i, count);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const LanePair g = load_pair<T>(dy[r] + i, count), v = load_pair<T>(x[r] + i, count);
      const LanePair xhat =
          map_pair(v, [&](Lanes u) { return kLayer ? (u - mean[r]) * rstd[r] - lost[r] : u * rstd[r]; });
      result[r] = map_pair(g * scale, xhat,
                           [&](Lanes a, Lanes h) { return (kLayer ? a * rstd[r] - c1[r] : a * rstd[r]) - h * c2[r]; });
      sum_gamma += g * xhat;
      sum_beta += g;
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      write_ahead_of_pair(dx[r] + i, ahead);
      store_pair<T>(dx[r] + i, result[r], count);
    }
    store_ordered<T>(dgamma + i, sum_gamma, count);
    if constexpr (kLayer) store_ordered<T>(dbeta + i, sum_beta, count);
  });
}

// Inputs dy, x, gamma, [mean,] rstd; outputs dx, dgamma[, dbeta].
template <bool kLayer>
class NormBackwardKernel : public Kernel {
 public:
  NormBackwardKernel(const NormShape& shape, DType dy, DType dx, DType dgamma)
      : shape_(shape), dy_(dy), dx_(dx), dgamma_(dgamma), pitch_(padded_floats(shape.width)) {
    // At most 32 MB of partial sums for very wide rows.
    const int64_t room = std::max<int64_t>(1, (int64_t{8} << 20) / (kRowsOfPart * std::max<int64_t>(pitch_, 1)));
    parts_ = std::min(parts_for_shape(shape.rows, shape.width), room);
  }

  size_t scratch_bytes() const override { return static_cast<size_t>((1 + kRowsOfPart * parts_) * pitch_) * 4; }

  void run(const Call& call) override {
    with_float_type(dy_ == shape_.x && dy_ == dx_ ? dx_ : DType::float32, [&](auto type) { run_in<type()>(call); });
  }

 private:
  // Scratch of a part: sums of dgamma and dbeta, the same for the present 64 rows, four rows of dy and four of x.
  static constexpr int64_t kGroup = 4, kRowsOfPart = 4 + 2 * kGroup;

  // In numbers of type T: those of dy, x and dx, or float32, to and from which rows are converted.
  template <DType T>
  void run_in(const Call& call) const {
    float* gamma = static_cast<float*>(call.scratch);
    load_gamma(shape_.gamma, call.in[2], shape_.width, shape_.zero_centered, gamma);
    pair_order<T>(gamma, shape_.width);
    float* const sums = gamma + pitch_;
    for_parts(shape_.rows, parts_, [&](int64_t part, int64_t begin, int64_t end) {
      run_part<T>(call, gamma, sums + kRowsOfPart * part * pitch_, begin, end);
    });
    if (shape_.rows == 0) std::fill(sums, sums + 2 * pitch_, 0.0f);
    for (int which = 0; which < (kLayer ? 2 : 1); ++which) add_parts<T>(sums + which * pitch_, call.out[1 + which]);
  }

  template <DType T>
  void run_part(const Call& call, const float* gamma, float* scratch, int64_t begin, int64_t end) const {
    const RowWriter writer(dx_, call.out[0], shape_.rows * shape_.width);
    std::fill(scratch, scratch + 4 * pitch_, 0.0f);
    int64_t row = begin;
    for (; row + kGroup <= end; row += kGroup) {
      run_rows<T, kGroup>(call, writer, gamma, scratch, row);
      if ((row - begin) % 64 == 64 - kGroup) flush(scratch);
    }
    for (; row < end; ++row) run_rows<T, 1>(call, writer, gamma, scratch, row);
    flush(scratch);
    writer.finish();
  }

  template <DType T, int kRows>
  void run_rows(const Call& call, const RowWriter& writer, const float* gamma, float* scratch, int64_t first) const {
    using Number = Stored<T>;
    const auto row_buffer = [=, this](int64_t i) { return reinterpret_cast<Number*>(scratch + (4 + i) * pitch_); };
    const int64_t n = shape_.width;
    const Number *dy[kRows], *x[kRows];
    RowGradient rows[kRows];
    for (int64_t r = 0; r < kRows; ++r) {
      dy[r] = row_in(dy_, call.in[0], (first + r) * n, n, row_buffer(r));
      x[r] = row_in(shape_.x, call.in[1], (first + r) * n, n, row_buffer(kGroup + r));
      const float mean = kLayer ? plain_nan(call.input<float>(3)[first + r]) : 0.0f;
      const float rstd = plain_nan(call.input<float>(kLayer ? 4 : 3)[first + r]);
      rows[r] = row_gradient<kLayer, T>(dy[r], x[r], gamma, n, mean, rstd);
    }
    constexpr int64_t kPiece = 512;
    alignas(64) Number pieces[kRows][kPiece + 64 / sizeof(Number)];
    const int64_t ahead =
        writer.ahead<Number>() ? kRows * n * static_cast<int64_t>(sizeof(Number)) : 0;  // the next rows
    for (int64_t i = 0; i < n; i += kPiece) {
      const int64_t length = std::min(kPiece, n - i);
      const Number *dy_piece[kRows], *x_piece[kRows];
      Number* dx[kRows];
      for (int r = 0; r < kRows; ++r) {
        dy_piece[r] = dy[r] + i;
        x_piece[r] = x[r] + i;
        dx[r] = writer.at((first + r) * n + i, pieces[r]);
      }
      backward_rows<kLayer, T, kRows>(dy_piece, x_piece, rows, gamma + i, length, dx, ahead, scratch + 2 * pitch_ + i,
                                      scratch + 3 * pitch_ + i);
      for (int r = 0; r < kRows; ++r) writer.done(dx[r], length, (first + r) * n + i);
    }
  }

  // Adds the sums of the present rows to the part's and clears them.
  void flush(float* scratch) const {
    float *totals = scratch, *sums = scratch + 2 * pitch_;
#pragma omp simd
    for (int64_t i = 0; i < 2 * pitch_; ++i) {
      totals[i] += sums[i];
      sums[i] = 0;
    }
  }

  // to[j] = sum of first[part * kRowsOfPart * pitch + j] (j in the order of pairs), in the order of the parts.
  template <DType T>
  void add_parts(const float* first, void* to) const {
    constexpr int64_t kTile = 256;
    parallel_for((shape_.width + kTile - 1) / kTile, 16, [&](int64_t begin, int64_t end) {
      for (int64_t j = begin * kTile; j < std::min(end * kTile, shape_.width); j += kTile) {
        const int64_t length = std::min(kTile, shape_.width - j), steps = std::min(kTile, pitch_ - j);
        double sum[kTile] = {};
        float result[kTile];
        for (int64_t part = 0; part < parts_; ++part) {
          const float* from = first + part * kRowsOfPart * pitch_ + j;
#pragma omp simd
          for (int64_t i = 0; i < steps; ++i) sum[i] += static_cast<double>(from[i]);
        }
        for (int64_t i = 0; i < steps; ++i) result[i] = static_cast<float>(sum[i]);
        plain_order<T>(result, length);
        store_row(dgamma_, result, length, at(dgamma_, to, j));
      }
    });
  }

  NormShape shape_;
  DType dy_, dx_, dgamma_;
  int64_t pitch_, parts_;
};

template <bool kLayer>
inline std::unique_ptr<Kernel> prepare_norm_backward(const Node& node, const NormShape& shape, std::string* why) {
  const DType dy = node.inputs[0].dtype, dx = node.outputs[0].dtype, dgamma = node.outputs[1].dtype;
  if (!is_float(dy) || !is_float(dx) || !is_float(dgamma)) return decline(why, "gradients must be of float types");
  if (kLayer && node.outputs[2].dtype != dgamma) return decline(why, "dgamma and dbeta differ in dtype");
  return std::make_unique<NormBackwardKernel<kLayer>>(shape, dy, dx, dgamma);
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
