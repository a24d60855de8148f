// A permutation of axes as the fewest loops: runs that stay together, or a transposition of two axes inside of others.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "plan/strides.h"
#include "te/kernel.h"

namespace te {

struct PermutedAxes {
  struct Axis {
    int64_t size, step;  // step: in elements of the input
  };

  PermutedAxes() = default;

  // shape: of the input; out axis i is in axis perm[i].
  PermutedAxes(const Shape& shape, const std::vector<int64_t>& perm, size_t element_bytes)
      : bytes(static_cast<int64_t>(element_bytes)) {
    const std::vector<int64_t> stride = strides_of(shape);
    for (int64_t axis : perm) {
      const int64_t size = shape[static_cast<size_t>(axis)], step = stride[static_cast<size_t>(axis)];
      if (size == 1) continue;
      if (!axes.empty() && axes.back().step == size * step)
        axes.back() = {axes.back().size * size, step};
      else
        axes.push_back({size, step});
    }
    for (const Axis& axis : axes) count *= axis.size;
    if (count == 0) return;
    // A short contiguous run is a wider element.
    if (!axes.empty() && axes.back().step == 1) {
      run = axes.back().size;
      axes.pop_back();
      const int64_t wide = run * bytes;
      if (!axes.empty() && (wide == 2 || wide == 4 || wide == 8)) {
        for (Axis& axis : axes) axis.step /= run;
        bytes = wide;
        count /= run;
        run = 1;
      }
    }
    if (tiled()) plan_tiles();
  }

  // Whether two axes change places; otherwise runs of `run` elements are copied.
  bool tiled() const { return run == 1 && !axes.empty(); }

  std::vector<Axis> axes;  // of the output, outermost first, without the run
  int64_t bytes = 1;       // of an element, which may be several of the caller's
  int64_t count = 1, run = 1;
  // Where tiled: the last output axis is `down`; the axis that is contiguous in the input is `across`, whose neighbours
  // lie across_out elements apart in the output; the others are `outer`.
  Axis down{1, 1}, across{1, 1};
  int64_t across_out = 1;
  std::vector<MovedAxis> outer;

 private:
  void plan_tiles() {
    down = axes.back();
    int64_t out_step = down.size;
    for (size_t i = axes.size() - 1; i-- > 0;) {
      if (axes[i].step == 1) {
        across = axes[i];
        across_out = out_step;
      } else {
        outer.insert(outer.begin(), {axes[i].size, axes[i].step, out_step});
      }
      out_step *= axes[i].size;
    }
  }
};

// Reads the parameters of a transposition; false and *why where they do not fit.
inline bool read_transpose(const Node& node, std::vector<int64_t>* perm, std::string* why) {
  if (!node.params.only({"perm"}, why)) return false;
  const Aval& x = node.inputs[0];
  *perm = node.params.integers("perm");
  std::vector<bool> seen(x.shape.size());
  bool valid = perm->size() == x.shape.size() && node.outputs[0].bytes() == x.bytes();
  for (int64_t axis : *perm) {
    valid = valid && axis >= 0 && axis < static_cast<int64_t>(seen.size()) && !seen[static_cast<size_t>(axis)];
    if (valid) seen[static_cast<size_t>(axis)] = true;
  }
  if (!valid) *why = "perm must name every axis of x once";
  return valid;
}

}  // namespace te
