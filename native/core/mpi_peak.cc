// How fast MPI's own collectives are, for benchmarks to divide by.
#include <algorithm>
#include <chrono>
#include <vector>

#include "core/mpi.h"
#include "te/peak.h"
#include "te/status.h"
#include "te/world.h"

namespace te {
namespace {

void call_once(const Mpi& mpi, const std::string& name, const float* x, float* y, int n, int part) {
  if (name == "Allreduce") {
    check_mpi(mpi, mpi.allreduce(x, y, n, mpi.type_float, mpi.op_sum, mpi.comm_world), "MPI_Allreduce");
  } else if (name == "Allgather") {
    check_mpi(mpi, mpi.allgather(x, part, mpi.type_float, y, part, mpi.type_float, mpi.comm_world), "MPI_Allgather");
  } else if (name == "Reduce_scatter_block") {
    check_mpi(mpi, mpi.reduce_scatter_block(x, y, part, mpi.type_float, mpi.op_sum, mpi.comm_world),
              "MPI_Reduce_scatter_block");
  } else if (name == "Alltoall") {
    check_mpi(mpi, mpi.alltoall(x, part, mpi.type_float, y, part, mpi.type_float, mpi.comm_world), "MPI_Alltoall");
  } else {
    throw Error("option", "collectiveTime: name must be Allreduce, Allgather, Reduce_scatter_block or Alltoall, got " +
                              name + ".");
  }
}

}  // namespace

double measure_mpi(const std::string& name, size_t bytes, int times) {
  using Clock = std::chrono::steady_clock;
  if (world_size() == 1) throw Error("state", "collectiveTime: this process is alone. Start several with mpirun.");
  const Mpi& mpi = load_mpi("");
  const int part = static_cast<int>(bytes / sizeof(float)) / world_size(), n = part * world_size();
  const std::vector<float> x(static_cast<size_t>(n), 1);
  std::vector<float> y(static_cast<size_t>(n));
  double best = 1e9;
  for (int i = 0; i < times; ++i) {
    check_mpi(mpi, mpi.barrier(mpi.comm_world), "MPI_Barrier");
    const auto start = Clock::now();
    call_once(mpi, name, x.data(), y.data(), n, part);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

}  // namespace te
