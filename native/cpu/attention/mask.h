// Which keys a query sees. A key is hidden by the mask, by another segment, or by its distance (causal, window).
#pragma once
#include <algorithm>
#include <cstdint>

#include "plan/attention_problem.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

using namespace attention;

// No key outside [low, high) is visible; with `holes` some inside may be hidden too.
struct Range {
  int32_t low = 0, high = 0;
  int32_t holes = 0;
};

class Visibility {
 public:
  Visibility(const Problem& problem, const Call& call, void* table)
      : p_(problem), call_(call), table_(static_cast<Range*>(table)) {
    if (p_.explicit_mask()) scan();
  }

  static size_t table_bytes(const Problem& p) {
    return p.explicit_mask() ? static_cast<size_t>(table_batch(p) * p.mask_heads * p.queries) * sizeof(Range) : 0;
  }

  Range range(int64_t b, int64_t head, int64_t i) const {
    if (!p_.explicit_mask()) return by_index(i);
    const int64_t batch = table_batch(p_) > 1 ? b : 0, row = p_.mask_heads > 1 ? head : 0;
    return table_[(batch * p_.mask_heads + row) * p_.queries + i];
  }

  // hidden[j - first] = 1 when query i of (b, head) does not see key j, for j in [first, last).
  void hidden_keys(int64_t b, int64_t head, int64_t i, int64_t first, int64_t last, uint8_t* hidden) const {
    const int64_t n = last - first;
    if (p_.has_mask) {
      const int64_t batch = p_.mask_batch > 1 ? b : 0, row = p_.mask_heads > 1 ? head : 0;
      const int64_t query = p_.mask_queries > 1 ? i : 0;
      const uint8_t* mask = call_.input<uint8_t>(p_.operands.mask) +
                            ((batch * p_.mask_heads + row) * p_.mask_queries + query) * p_.keys + first;
#pragma omp simd
      for (int64_t j = 0; j < n; ++j) hidden[j] = mask[j] != 0;
    } else {
      std::fill(hidden, hidden + n, uint8_t{0});
    }
    if (p_.has_segments) hide_segments(b, i, first, n, hidden);
    if (p_.has_positions()) {
      hide_distant(b, i, first, n, hidden);
    } else {
      const Range near = by_index(i);
      for (int64_t j = first; j < std::min<int64_t>(last, near.low); ++j) hidden[j - first] = 1;
      for (int64_t j = std::max<int64_t>(first, near.high); j < last; ++j) hidden[j - first] = 1;
    }
  }

 private:
  static int64_t table_batch(const Problem& p) {
    return p.has_segments || p.has_positions() || p.mask_batch > 1 ? p.batch : 1;
  }

  Range by_index(int64_t i) const {
    const int64_t low = std::clamp<int64_t>(i + p_.below, 0, p_.keys);
    const int64_t high = std::clamp<int64_t>(i + p_.above + 1, low, p_.keys);
    return {static_cast<int32_t>(low), static_cast<int32_t>(high), 0};
  }

  void hide_segments(int64_t b, int64_t i, int64_t first, int64_t n, uint8_t* hidden) const {
    const int32_t own = call_.input<int32_t>(p_.operands.segments_q)[b * p_.queries + i];
    const int32_t* ids = call_.input<int32_t>(p_.operands.segments_kv) + b * p_.keys + first;
    const uint8_t padding = own == 0;
#pragma omp simd
    for (int64_t j = 0; j < n; ++j) hidden[j] |= static_cast<uint8_t>(ids[j] != own) | padding;
  }

  void hide_distant(int64_t b, int64_t i, int64_t first, int64_t n, uint8_t* hidden) const {
    const int64_t own = p_.has_q_positions ? call_.input<int32_t>(p_.operands.positions_q)[b * p_.queries + i] : i;
    const int64_t limit = int64_t{1} << 30;  // positions are compared as int32
    const int32_t low = static_cast<int32_t>(std::clamp(own + p_.below, -2 * limit, 2 * limit - 1));
    const int32_t high = static_cast<int32_t>(std::clamp(own + p_.above, -2 * limit, 2 * limit - 1));
    if (p_.has_kv_positions) {
      const int32_t* at = call_.input<int32_t>(p_.operands.positions_kv) + b * p_.keys + first;
#pragma omp simd
      for (int64_t j = 0; j < n; ++j)
        hidden[j] |= static_cast<uint8_t>(at[j] < low) | static_cast<uint8_t>(at[j] > high);
    } else {
      const int32_t at = static_cast<int32_t>(first), count = static_cast<int32_t>(n);
#pragma omp simd
      for (int32_t j = 0; j < count; ++j)
        hidden[j] |= static_cast<uint8_t>(at + j < low) | static_cast<uint8_t>(at + j > high);
    }
  }

  void scan() {
    const int64_t batch = table_batch(p_);
    parallel_for(batch * p_.mask_heads * p_.queries, std::max<int64_t>(1, 65536 / std::max<int64_t>(p_.keys, 1)),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t row = begin; row < end; ++row) {
                     const int64_t i = row % p_.queries, head = row / p_.queries % p_.mask_heads;
                     table_[row] = scan_row(row / p_.queries / p_.mask_heads, head, i);
                   }
                 });
  }

  Range scan_row(int64_t b, int64_t head, int64_t i) const {
    constexpr int64_t kStep = 1024;
    uint8_t hidden[kStep];
    int64_t low = p_.keys, high = 0, seen = 0;
    const Range near = p_.has_positions() ? Range{0, static_cast<int32_t>(p_.keys), 0} : by_index(i);
    for (int64_t first = near.low; first < near.high; first += kStep) {
      const int64_t n = std::min<int64_t>(kStep, near.high - first);
      hidden_keys(b, head, i, first, first + n, hidden);
      int32_t visible = static_cast<int32_t>(n);
#pragma omp simd reduction(- : visible)
      for (int32_t j = 0; j < static_cast<int32_t>(n); ++j) visible -= hidden[j];
      if (visible == 0) continue;
      seen += visible;
      int64_t begin = 0, end = n;
      while (hidden[begin] != 0) ++begin;
      while (hidden[end - 1] != 0) --end;
      low = std::min(low, first + begin);
      high = first + end;
    }
    if (seen == 0) return {};
    return {static_cast<int32_t>(low), static_cast<int32_t>(high), seen < high - low};
  }

  const Problem& p_;
  const Call& call_;
  Range* table_;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
