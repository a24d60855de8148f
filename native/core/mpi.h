// MPI as it is found when a program runs: a few functions, and the handles of whichever implementation it is. There are
// two families, whose headers differ: Open MPI's handles are addresses of its symbols, MPICH's (and Intel's, Cray's)
// are numbers.
#pragma once
#include <string>

namespace te {

struct Mpi {
  using Handle = void*;

  int (*init_thread)(int*, char***, int, int*) = nullptr;
  int (*initialized)(int*) = nullptr;
  int (*finalized)(int*) = nullptr;
  int (*finalize)() = nullptr;
  int (*abort)(Handle, int) = nullptr;
  int (*comm_rank)(Handle, int*) = nullptr;
  int (*comm_size)(Handle, int*) = nullptr;
  int (*comm_set_errhandler)(Handle, Handle) = nullptr;
  int (*isend)(const void*, int, Handle, int, int, Handle, Handle*) = nullptr;
  int (*irecv)(void*, int, Handle, int, int, Handle, Handle*) = nullptr;
  int (*test)(Handle*, int*, void*) = nullptr;
  int (*cancel)(Handle*) = nullptr;
  int (*error_string)(int, char*, int*) = nullptr;

  // MPI's own collectives, which only measurements call.
  int (*barrier)(Handle) = nullptr;
  int (*allreduce)(const void*, void*, int, Handle, Handle, Handle) = nullptr;
  int (*allgather)(const void*, int, Handle, void*, int, Handle, Handle) = nullptr;
  int (*reduce_scatter_block)(const void*, void*, int, Handle, Handle, Handle) = nullptr;
  int (*alltoall)(const void*, int, Handle, void*, int, Handle, Handle) = nullptr;

  Handle comm_world = nullptr, type_byte = nullptr, type_float = nullptr, op_sum = nullptr, errors_return = nullptr;
  void* status_ignore = nullptr;
};

// Loads it once; later calls give the same. Throws te::Error where there is none, with the way out.
const Mpi& load_mpi(const std::string& library);

// Throws te::Error where an MPI function did not succeed.
void check_mpi(const Mpi& mpi, int code, const char* function);

}  // namespace te
