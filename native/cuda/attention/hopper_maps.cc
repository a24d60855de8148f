// Descriptions of the operands of attention for the copy engine, by the driver's function for it.
#include "cuda/attention/hopper_maps.h"

#include <cuda_runtime_api.h>

#include "cuda/context.h"

namespace te::cuda::attention {
namespace {

using Encode = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*, const cuuint64_t*,
                            const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave, CUtensorMapSwizzle,
                            CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

Encode find_encode() {
  void* encode = nullptr;
  cudaDriverEntryPointQueryResult found;
  check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000, cudaEnableDefault, &found),
        "cuTensorMapEncodeTiled");
  if (found != cudaDriverEntryPointSuccess) throw Error("backend", "the driver has no cuTensorMapEncodeTiled");
  return reinterpret_cast<Encode>(encode);
}

CUtensorMap encode(CUtensorMapDataType type, int rank, const void* data, const cuuint64_t* dims,
                   const cuuint64_t* strides, const cuuint32_t* box, CUtensorMapSwizzle swizzle) {
  static const Encode encode = find_encode();
  const cuuint32_t steps[] = {1, 1, 1, 1};
  CUtensorMap map;
  const CUresult status = encode(&map, type, static_cast<cuuint32_t>(rank), const_cast<void*>(data), dims, strides, box,
                                 steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                                 CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) throw Error("backend", "cuTensorMapEncodeTiled refuses an operand of attention");
  return map;
}

}  // namespace

CUtensorMap rows_map(const void* data, DType dtype, const te::attention::Rows& rows, int depth, int heads,
                     int positions, int batch, int box) {
  const auto size = [](int64_t n) { return static_cast<cuuint64_t>(n); };
  const cuuint64_t dims[] = {size(depth), size(heads), size(positions), size(batch)};
  const cuuint64_t strides[] = {size(rows.head * 2), size(rows.position * 2), size(rows.batch * 2)};
  const cuuint32_t sides[] = {64, 1, static_cast<cuuint32_t>(box), 1};
  return encode(dtype == DType::bfloat16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, 4,
                static_cast<const char*>(data) + rows.offset * 2, dims, strides, sides, CU_TENSOR_MAP_SWIZZLE_128B);
}

CUtensorMap table_map(const float* data, int columns, int stride, int rows, int slices, int box) {
  const auto size = [](int64_t n) { return static_cast<cuuint64_t>(n); };
  const cuuint64_t dims[] = {size(columns), size(rows), size(slices), 1};
  const cuuint64_t row = size(stride) * sizeof(float), slice = size(rows) * row;
  const cuuint64_t strides[] = {row, slice, slice * size(slices)};
  const cuuint32_t sides[] = {static_cast<cuuint32_t>(box), static_cast<cuuint32_t>(rows), 1, 1};
  return encode(CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4, data, dims, strides, sides, CU_TENSOR_MAP_SWIZZLE_NONE);
}

}  // namespace te::cuda::attention
