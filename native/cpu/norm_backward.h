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

template <bool kLayer>
inline RowGradientSums gradient_sums(const float* dy, const float* x, const float* gamma, int64_t n, float mean) {
  constexpr int kSums = kLayer ? 3 : 1;
  double sums[kSums];
  accumulate<kSums>(n, sums, [=](int64_t i, auto* s) {
    using V = std::decay_t<decltype(*s)>;
    const V a = lanes_at<V>(dy + i) * lanes_at<V>(gamma + i);
    V d = lanes_at<V>(x + i);
    if constexpr (kLayer) {
      d -= mean;
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

template <bool kLayer>
inline RowGradient row_gradient(const float* dy, const float* x, const float* gamma, int64_t n, float mean,
                                float rstd) {
  const RowGradientSums sums = gradient_sums<kLayer>(dy, x, gamma, n, mean);
  const double share = 1.0 / static_cast<double>(n), lost = sums.x * share, mean_a = sums.a * share;
  const double mean_ax = static_cast<double>(rstd) * (sums.ax * share - lost * mean_a);
  return {mean, static_cast<float>(lost), rstd, static_cast<float>(mean_a), static_cast<float>(mean_ax)};
}

// kRows rows at once, so that dgamma and dbeta are read and written once for all of them.
template <bool kLayer, int kRows>
inline void backward_rows(const float* const* dy, const float* const* x, const RowGradient* rows, const float* gamma,
                          int64_t n, float* const* dx, float* dgamma, float* dbeta) {
  float mean[kRows], rstd[kRows], lost[kRows], c1[kRows], c2[kRows];  // copies stay in registers
  for (int r = 0; r < kRows; ++r) {
    mean[r] = rows[r].mean;
    rstd[r] = rows[r].rstd;
    lost[r] = rows[r].lost * rows[r].rstd;
    c1[r] = rows[r].mean_a * rows[r].rstd;
    c2[r] = rows[r].mean_ax * rows[r].rstd;
  }
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    float sum_gamma = dgamma[i], sum_beta = kLayer ? dbeta[i] : 0.0f;
    float result[kRows];
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const float g = dy[r][i], a = g * gamma[i];
      const float xhat = kLayer ? (x[r][i] - mean[r]) * rstd[r] - lost[r] : x[r][i] * rstd[r];
      result[r] = (kLayer ? a * rstd[r] - c1[r] : a * rstd[r]) - xhat * c2[r];
      sum_gamma += g * xhat;
      sum_beta += g;
    }
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) dx[r][i] = result[r];
    dgamma[i] = sum_gamma;
    if (kLayer) dbeta[i] = sum_beta;
  }
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
    float* gamma = static_cast<float*>(call.scratch);
    load_gamma(shape_.gamma, call.in[2], shape_.width, shape_.zero_centered, gamma);
    for_parts(shape_.rows, parts_, [&](int64_t part, int64_t begin, int64_t end) {
      run_part(call, gamma, gamma + (1 + kRowsOfPart * part) * pitch_, begin, end);
    });
    for (int which = 0; which < (kLayer ? 2 : 1); ++which)
      add_parts(gamma + pitch_ + which * pitch_, call.out[1 + which]);
  }

 private:
  // Scratch of a part: sums of dgamma and dbeta, the same for the present 64 rows, four rows of dy and four of x.
  static constexpr int64_t kGroup = 4, kRowsOfPart = 4 + 2 * kGroup;

  void run_part(const Call& call, const float* gamma, float* scratch, int64_t begin, int64_t end) const {
    const RowWriter writer(dx_, call.out[0], shape_.rows * shape_.width);
    std::fill(scratch, scratch + 4 * pitch_, 0.0f);
    int64_t row = begin;
    for (; row + kGroup <= end; row += kGroup) {
      run_rows<kGroup>(call, writer, gamma, scratch, row);
      if ((row - begin) % 64 == 64 - kGroup) flush(scratch);
    }
    for (; row < end; ++row) run_rows<1>(call, writer, gamma, scratch, row);
    flush(scratch);
    writer.finish();
  }

  template <int kRows>
  void run_rows(const Call& call, const RowWriter& writer, const float* gamma, float* scratch, int64_t first) const {
    const int64_t n = shape_.width;
    const float *dy[kRows], *x[kRows];
    RowGradient rows[kRows];
    for (int64_t r = 0; r < kRows; ++r) {
      dy[r] = row_in(dy_, call.in[0], (first + r) * n, n, scratch + (4 + r) * pitch_);
      x[r] = row_in(shape_.x, call.in[1], (first + r) * n, n, scratch + (4 + kGroup + r) * pitch_);
      const float mean = kLayer ? call.input<float>(3)[first + r] : 0.0f;
      rows[r] = row_gradient<kLayer>(dy[r], x[r], gamma, n, mean, call.input<float>(kLayer ? 4 : 3)[first + r]);
    }
    constexpr int64_t kPiece = 512;
    alignas(64) float pieces[kRows][kPiece + 16];
    for (int64_t i = 0; i < n; i += kPiece) {
      const int64_t length = std::min(kPiece, n - i);
      const float *dy_piece[kRows], *x_piece[kRows];
      float* dx[kRows];
      for (int r = 0; r < kRows; ++r) {
        dy_piece[r] = dy[r] + i;
        x_piece[r] = x[r] + i;
        dx[r] = writer.at((first + r) * n + i, pieces[r]);
        const int64_t next = (first + kRows + r) * n + i;  // (behind the last row it does no harm)
        prefetch_row(dy_, call.in[0], next, length);
        prefetch_row(shape_.x, call.in[1], next, length);
      }
      backward_rows<kLayer, kRows>(dy_piece, x_piece, rows, gamma + i, length, dx, scratch + 2 * pitch_ + i,
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

  // to[j] = sum of first[part * kRowsOfPart * pitch + j], in the order of the parts.
  void add_parts(const float* first, void* to) const {
    parallel_for(shape_.width, 4096, [&](int64_t begin, int64_t end) {
      constexpr int64_t kTile = 256;
      for (int64_t j = begin; j < end; j += kTile) {
        const int64_t length = std::min(kTile, end - j);
        double sum[kTile] = {};
        float result[kTile];
        for (int64_t part = 0; part < parts_; ++part) {
          const float* from = first + part * kRowsOfPart * pitch_ + j;
#pragma omp simd
          for (int64_t i = 0; i < length; ++i) sum[i] += static_cast<double>(from[i]);
        }
        for (int64_t i = 0; i < length; ++i) result[i] = static_cast<float>(sum[i]);
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
