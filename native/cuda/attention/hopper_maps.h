// Descriptions of the operands of attention for the copy engine.
#pragma once
#include <cuda.h>

#include "cuda/attention/attention.h"

namespace te::cuda::attention {

// Boxes of `box` positions of one head, 64 elements wide, of an operand of 16-bit elements. Coordinates: element, head,
// position, batch. Boxes lie in the 128-byte swizzle, and hold zeros where they leave the operand.
CUtensorMap rows_map(const void* data, DType dtype, const te::attention::Rows& rows, int depth, int heads,
                     int positions, int batch, int box);

// Boxes of 64 columns of all `rows` rows of slices of float32 [slices, rows, columns]. Coordinates: column, row, slice.
CUtensorMap table_map(const float* data, int columns, int rows, int slices);

}  // namespace te::cuda::attention
