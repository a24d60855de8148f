// The labels of rows, which are values: one that is no column is an error of whoever reads the result.
#pragma once
#include <string>

#include "cuda/report.cuh"

namespace te::cuda {

inline Failure unknown_label(int64_t position, int32_t label, int64_t classes) {
  std::string text = "crossEntropy: every label must be in [0, ";
  text += std::to_string(classes - 1) + "], got " + std::to_string(label) + " at position " + std::to_string(position);
  return {"index", text + ". Replace it and give its row no weight."};
}

// The label of a row, or -1 where it is no column. One thread of the row says `reports`.
__device__ inline int checked_label(const int32_t* labels, int64_t row, int columns, bool reports, const Report& to) {
  const int32_t label = labels[row];
  if (label >= 0 && label < columns) return label;
  if (reports) report(to, row, label);
  return -1;
}

}  // namespace te::cuda
