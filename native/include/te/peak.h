// What the machine can do, for benchmarks to divide by.
#pragma once
#include <cstddef>
#include <string>

#include "te/dtype.h"

namespace te {

// GFLOP/s of the best oneDNN product of 1024³ and larger, float32 or bfloat16, tried for about `seconds`; on arm64, of
// multiply-adds in registers.
double measure_product_peak(DType dtype, double seconds);

// GB/s, read plus written, of copies by all threads that move `moved` bytes (half read, half written) between mapped
// buffers of the pool, tried for about `seconds`.
double measure_copy_bandwidth(double seconds, size_t moved);

// GB/s of reading `bytes` of mapped memory of the pool once, by all threads, tried for about `seconds`.
double measure_read_bandwidth(double seconds, size_t bytes);

// Seconds of one call of a collective of MPI itself (Allreduce, Allgather, Reduce_scatter_block, Alltoall) on float32:
// the best of `times` on this process, each begun by all together. `bytes` are of the larger of what a process gives
// and gets. All processes of the world call it; nothing else is under way.
double measure_mpi(const std::string& name, size_t bytes, int times);

}  // namespace te
