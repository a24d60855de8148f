// The seat of a process that mpirun started.
#pragma once
#include "cuda/nccl/world.h"

namespace te::cuda {

// Joins MPI's world, see te::join_world, to learn rank and size, and where rank 0 listens.
Seat seat_by_mpi(double timeout);

}  // namespace te::cuda
