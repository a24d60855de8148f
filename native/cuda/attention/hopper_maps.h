// Descriptions of the operands of attention for the copy engine.
#pragma once
#include <cuda.h>

#include "cuda/attention/attention.h"

namespace te::cuda::attention {

// Boxes of `box` positions of one head, 64 elements wide, of an operand of 16-bit elements. Coordinates: element, head,
// position, batch. Boxes lie in the 128-byte swizzle, and hold zeros where they leave the operand.
CUtensorMap rows_map(const void* data, DType dtype, const te::attention::Rows& rows, int depth, int heads,
                     int positions, int batch, int box);

// Boxes of `box` columns of all `rows` rows of one slice of float32 [slices, rows, stride], of which `columns` columns
// are filled: others hold zeros. Coordinates: column, row, slice, 0.
CUtensorMap table_map(const float* data, int columns, int stride, int rows, int slices, int box);

}  // namespace te::cuda::attention
