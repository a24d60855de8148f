// What the machine can do, for benchmarks to divide by.
#pragma once
#include <cstddef>

#include "te/dtype.h"

namespace te {

// GFLOP/s of the best oneDNN product of 1024³ and larger, float32 or bfloat16, tried for about `seconds`.
double measure_product_peak(DType dtype, double seconds);

// GB/s, read plus written, of copies by all threads that move `moved` bytes (half read, half written) between mapped
// buffers of the pool, tried for about `seconds`.
double measure_copy_bandwidth(double seconds, size_t moved);

}  // namespace te
