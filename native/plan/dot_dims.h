// Brings the axes of a general product to batch x (m, k) x (k, n) with one stride each, or says which operand must be
// copied first.
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "te/kernel.h"

namespace te {

// One operand: element (batch, outer, inner) is at batch . strides + outer * outer_step + inner * inner_step, counted
// in elements. `outer` is m or n, `inner` is k.
struct DotOperand {
  DType dtype = DType::float32;
  int64_t outer_step = 0, inner_step = 0;
  std::vector<int64_t> batch_steps;
  // Set when the axes do not merge: the operand must be permuted by copy_perm first, and the steps are the copy's.
  bool copy = false;
  Shape copy_shape;
  std::vector<int64_t> copy_perm;
};

struct DotDims {
  Shape batch;  // sizes of the batch axes
  int64_t m = 1, n = 1, k = 1;
  DotOperand a, b;
  int64_t batches() const { return count(batch); }
};

// Batch axes that one number counts for both operands: steps a_step and b_step.
struct DotBatch {
  int64_t size, a_step, b_step;
};

namespace dot_detail {

struct Axis {
  int64_t size, step, axis;
};

// The step of several nested axes taken as one, outermost first; false when they do not nest.
inline bool merge(const std::vector<Axis>& axes, int64_t* step) {
  *step = 1;
  bool first = true;
  for (size_t i = axes.size(); i-- > 0;) {
    if (axes[i].size == 1) continue;
    if (first) *step = axes[i].step;
    int64_t inside = 1;
    for (size_t j = i + 1; j < axes.size(); ++j) inside *= axes[j].size;
    if (!first && axes[i].step != *step * inside) return false;
    first = false;
  }
  return true;
}

inline int64_t product(const std::vector<Axis>& axes) {
  int64_t n = 1;
  for (const Axis& axis : axes) n *= axis.size;
  return n;
}

struct Parts {
  std::vector<Axis> batch, outer, inner;
};

inline bool split(const Aval& x, const std::vector<int64_t>& contract, const std::vector<int64_t>& batch,
                  Parts* parts) {
  const int64_t rank = static_cast<int64_t>(x.shape.size());
  std::vector<Axis> axes(x.shape.size());
  int64_t step = 1;
  for (int64_t i = rank; i-- > 0; step *= x.shape[static_cast<size_t>(i)])
    axes[static_cast<size_t>(i)] = {x.shape[static_cast<size_t>(i)], step, i};
  std::vector<bool> used(x.shape.size(), false);
  for (const auto& [list, to] : {std::pair{&batch, &parts->batch}, {&contract, &parts->inner}}) {
    for (int64_t axis : *list) {
      if (axis < 0 || axis >= rank || used[static_cast<size_t>(axis)]) return false;
      used[static_cast<size_t>(axis)] = true;
      to->push_back(axes[static_cast<size_t>(axis)]);
    }
  }
  for (size_t i = 0; i < axes.size(); ++i)
    if (!used[i]) parts->outer.push_back(axes[i]);
  return true;
}

inline DotOperand operand(const Aval& x, const Parts& parts) {
  DotOperand result;
  result.dtype = x.dtype;
  const int64_t outer = product(parts.outer), inner = product(parts.inner);
  const bool merged = merge(parts.outer, &result.outer_step) && merge(parts.inner, &result.inner_step);
  // An axis of one element may have any step; give the pair a contiguous member if it can have one.
  if (merged && inner == 1) result.inner_step = result.outer_step == 1 ? std::max<int64_t>(outer, 1) : 1;
  if (merged && outer == 1) result.outer_step = result.inner_step == 1 ? std::max<int64_t>(inner, 1) : 1;
  if (merged && (result.outer_step == 1 || result.inner_step == 1)) {
    for (const Axis& axis : parts.batch) result.batch_steps.push_back(axis.step);
    return result;
  }
  result.copy = true;
  result.copy_shape = x.shape;
  for (const auto* list : {&parts.batch, &parts.outer, &parts.inner})
    for (const Axis& axis : *list) result.copy_perm.push_back(axis.axis);
  result.outer_step = inner;
  result.inner_step = 1;
  int64_t step = outer * inner;
  result.batch_steps.resize(parts.batch.size());
  for (size_t i = parts.batch.size(); i-- > 0; step *= parts.batch[i].size) result.batch_steps[i] = step;
  return result;
}

}  // namespace dot_detail

// The batch axes as few as they can be; none where there is one product.
inline std::vector<DotBatch> merged_batch(const DotDims& dims) {
  std::vector<DotBatch> merged;
  for (size_t i = 0; i < dims.batch.size(); ++i) {
    const DotBatch axis{dims.batch[i], dims.a.batch_steps[i], dims.b.batch_steps[i]};
    if (axis.size == 1) continue;
    DotBatch* last = merged.empty() ? nullptr : &merged.back();
    if (last && last->a_step == axis.a_step * axis.size && last->b_step == axis.b_step * axis.size)
      *last = {last->size * axis.size, axis.a_step, axis.b_step};
    else
      merged.push_back(axis);
  }
  return merged;
}

// Reads lhsContract, rhsContract, lhsBatch and rhsBatch; false and *why when they do not fit the shapes.
inline bool dot_dims(const Node& node, DotDims* dims, std::string* why) {
  using namespace dot_detail;
  const Aval &a = node.inputs[0], &b = node.inputs[1];
  Parts left, right;
  *why = "the contracting and batch axes do not fit the shapes";
  if (!split(a, node.params.integers("lhsContract"), node.params.integers("lhsBatch"), &left)) return false;
  if (!split(b, node.params.integers("rhsContract"), node.params.integers("rhsBatch"), &right)) return false;
  if (product(left.inner) != product(right.inner) || left.batch.size() != right.batch.size()) return false;
  // Passes may join the contracted axes of one operand; then those of the other are taken as one, in their order.
  const bool paired = left.inner.size() == right.inner.size();
  for (size_t i = 0; paired && i < left.inner.size(); ++i)
    if (left.inner[i].size != right.inner[i].size) return false;
  for (size_t i = 0; i < left.batch.size(); ++i)
    if (left.batch[i].size != right.batch[i].size) return false;
  // The order of summation is free: the one in which the axes of a nest, so that only b may need a copy.
  std::vector<std::pair<Axis, Axis>> inner;
  for (size_t i = 0; paired && i < left.inner.size(); ++i) inner.emplace_back(left.inner[i], right.inner[i]);
  std::stable_sort(inner.begin(), inner.end(),
                   [](const auto& x, const auto& y) { return x.first.step > y.first.step; });
  for (size_t i = 0; i < inner.size(); ++i) std::tie(left.inner[i], right.inner[i]) = inner[i];

  for (const Axis& axis : left.batch) dims->batch.push_back(axis.size);
  dims->m = product(left.outer);
  dims->n = product(right.outer);
  dims->k = product(left.inner);
  dims->a = operand(a, left);
  dims->b = operand(b, right);
  if (node.outputs[0].size() != dims->batches() * dims->m * dims->n) return false;
  why->clear();
  return true;
}

}  // namespace te
