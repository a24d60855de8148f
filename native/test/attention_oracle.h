// Attention and its gradients in double precision, one element at a time, for the tests of the kernels.
#pragma once
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "cpu/threefry.h"
#include "test/oracle.h"

namespace te::test {

struct AttentionCase {
  std::string name;
  DType dtype = DType::float32;
  int64_t batch = 2, queries = 33, keys = 33, heads = 2, groups = 2, depth = 16, value_depth = 16;
  std::string layout = "bshd", packing = "none", bias_type = "none", softmax = "vanilla";
  double scale = 0.25, dropout = 0;
  bool causal = false, bottom_right = false;
  int left = -1, right = -1;
  Shape bias = {}, mask = {};  // leading two axes of the bias, leading three of the mask; empty: absent
  bool segments = false, q_positions = false, kv_positions = false;
  bool zero_dlse = false;
  Shape weights_of = {}, weights_start = {};  // all weights [B, g, h/g, Sq, Skv], and where these begin; empty: all
  int64_t hidden_from = 1 << 30;              // queries from here on have a mask that hides everything
};

struct Attention {
  explicit Attention(const AttentionCase& c) : c(c) {}
  const AttentionCase& c;
  // Decoded operands with axes [B, S, heads, depth], and the optional ones as they are on the wire.
  Values q, k, v, dout, bias, sink, dlse;
  std::vector<uint8_t> mask;
  std::vector<int32_t> segments_q, segments_kv, positions_q, positions_kv;
  uint32_t key[2] = {7, 9};
  Values out, max, sum, dq, dk, dv, dbias;

  int64_t row(int64_t b, int64_t n, int64_t i) const { return (b * c.heads + n) * c.queries + i; }
  size_t score(int64_t b, int64_t n, int64_t i, int64_t j) const {
    return static_cast<size_t>(row(b, n, i) * c.keys + j);
  }

  // What dropout counts: the index of a weight among all.
  uint64_t counter(int64_t b, int64_t n, int64_t i, int64_t j) const {
    if (c.weights_of.empty()) return score(b, n, i, j);
    const int64_t heads = c.heads / c.groups, at[] = {b, n / heads, n % heads, i, j};
    int64_t counter = 0;
    for (size_t d = 0; d < 5; ++d) counter = counter * c.weights_of[d] + c.weights_start[d] + at[d];
    return static_cast<uint64_t>(counter);
  }

  bool hidden(int64_t b, int64_t n, int64_t i, int64_t j) const {
    if (!c.mask.empty()) {
      const int64_t at =
          ((c.mask[0] > 1 ? b : 0) * c.mask[1] + (c.mask[1] > 1 ? n : 0)) * c.mask[2] + (c.mask[2] > 1 ? i : 0);
      if (mask[static_cast<size_t>(at * c.keys + j)]) return true;
    }
    if (c.segments) {
      const int32_t own = segments_q[static_cast<size_t>(b * c.queries + i)];
      if (own == 0 || own != segments_kv[static_cast<size_t>(b * c.keys + j)]) return true;
    }
    int64_t query = c.q_positions ? positions_q[static_cast<size_t>(b * c.queries + i)] : i;
    const int64_t place = c.kv_positions ? positions_kv[static_cast<size_t>(b * c.keys + j)] : j;
    if (c.bottom_right) query += c.keys - c.queries;
    return (c.causal && place > query) || (c.left >= 0 && place < query - c.left) ||
           (c.right >= 0 && place > query + c.right);
  }

  size_t bias_at(int64_t b, int64_t n, int64_t i, int64_t j) const {
    const int64_t at = ((c.bias[0] > 1 ? b : 0) * c.bias[1] + (c.bias[1] > 1 ? n : 0)) * c.queries + i;
    return static_cast<size_t>(at * c.keys + j);
  }

  double dot(const Values& a, int64_t i, const Values& b, int64_t j, int64_t n) const {
    double sum = 0;
    for (int64_t e = 0; e < n; ++e) sum += a[static_cast<size_t>(i * n + e)] * b[static_cast<size_t>(j * n + e)];
    return sum;
  }

  void compute() {
    const double infinity = std::numeric_limits<double>::infinity(),
                 bias_scale = c.bias_type == "pre_scale" ? c.scale : 1;
    out.assign(static_cast<size_t>(c.batch * c.queries * c.heads * c.value_depth), 0);
    max.assign(static_cast<size_t>(c.batch * c.heads * c.queries), 0);
    sum = max;
    dq.assign(q.size(), 0), dk.assign(k.size(), 0), dv.assign(v.size(), 0), dbias.assign(bias.size(), 0);
    std::vector<double> s(static_cast<size_t>(c.keys)), p(s), dp(s);
    for (int64_t b = 0; b < c.batch; ++b)
      for (int64_t n = 0; n < c.heads; ++n)
        for (int64_t i = 0; i < c.queries; ++i) {
          const int64_t qi = (b * c.queries + i) * c.heads + n, g = n / (c.heads / c.groups);
          const auto kj = [&](int64_t j) { return (b * c.keys + j) * c.groups + g; };
          const double extra = c.softmax == "learnable"    ? sink[static_cast<size_t>(n)]
                               : c.softmax == "off_by_one" ? 0
                                                           : -infinity;
          double top = extra, total = 0, mean = -dlse[static_cast<size_t>(row(b, n, i))];
          for (int64_t j = 0; j < c.keys; ++j) {
            s[j] =
                c.scale * dot(q, qi, k, kj(j), c.depth) + (c.bias.empty() ? 0 : bias_scale * bias[bias_at(b, n, i, j)]);
            if (hidden(b, n, i, j)) s[j] = -infinity;
            top = std::max(top, s[j]);
          }
          max[static_cast<size_t>(row(b, n, i))] = top;
          if (top == -infinity) continue;
          for (int64_t j = 0; j < c.keys; ++j) total += std::exp(s[j] - top);
          total += std::exp(extra - top);
          sum[static_cast<size_t>(row(b, n, i))] = total;
          for (int64_t j = 0; j < c.keys; ++j) {
            p[j] = std::exp(s[j] - top) / total;
            double factor = 1;
            if (c.dropout > 0) {
              const uint32_t bits = TE_ISA_NAMESPACE::threefry_bits(key[0], key[1], counter(b, n, i, j));
              factor = TE_ISA_NAMESPACE::uniform_from_bits(bits) < static_cast<float>(1 - c.dropout)
                           ? 1 / (1 - c.dropout)
                           : 0;
            }
            for (int64_t e = 0; e < c.value_depth; ++e) {
              out[static_cast<size_t>(qi * c.value_depth + e)] +=
                  p[j] * factor * v[static_cast<size_t>(kj(j) * c.value_depth + e)];
              dv[static_cast<size_t>(kj(j) * c.value_depth + e)] +=
                  p[j] * factor * dout[static_cast<size_t>(qi * c.value_depth + e)];
            }
            dp[j] = factor * dot(dout, qi, v, kj(j), c.value_depth);
            mean += p[j] * dp[j];
          }
          for (int64_t j = 0; j < c.keys; ++j) {
            const double ds = p[j] * (dp[j] - mean);
            if (!c.bias.empty()) dbias[bias_at(b, n, i, j)] += bias_scale * ds;
            for (int64_t e = 0; e < c.depth; ++e) {
              dq[static_cast<size_t>(qi * c.depth + e)] += c.scale * ds * k[static_cast<size_t>(kj(j) * c.depth + e)];
              dk[static_cast<size_t>(kj(j) * c.depth + e)] += c.scale * ds * q[static_cast<size_t>(qi * c.depth + e)];
            }
          }
        }
  }
};

}  // namespace te::test
