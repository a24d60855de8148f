// Finding MPI, and telling its two families apart.
#include "core/mpi.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "te/settings.h"
#include "te/status.h"

namespace te {
namespace {

void* open_library(const std::string& library, std::string* found) {
  std::vector<std::string> names{library};
  if (library.empty()) {
    names = {"libmpi.so.40", "libmpi.so.12", "libmpich.so.12", "libmpi.so"};
    // Processes that MPICH's mpirun started do not find each other through Open MPI.
    if (!setting("PMI_FD").empty() && setting("OMPI_COMM_WORLD_SIZE").empty())
      std::rotate(names.begin(), names.begin() + 1, names.end() - 1);
  }
  for (const std::string& name : names) {
    *found = name;
    // Open MPI's plugins look for its symbols among the global ones.
    if (void* file = dlopen(name.c_str(), RTLD_NOW | RTLD_GLOBAL)) return file;
  }
  const char* why = dlerror();
  throw Error("backend",
              "initDistributed: MPI was not found" + (why ? ": " + std::string(why) : "") +
                  ". Install Open MPI or MPICH (Debian, Ubuntu: apt-get install openmpi-bin), or set TE_MPI to "
                  "its library.");
}

template <class F>
void find(void* file, const char* name, const std::string& library, F* function) {
  *function = reinterpret_cast<F>(dlsym(file, name));
  if (!*function)
    throw Error("backend", "initDistributed: " + library + " has no " + name + ": it is no library of MPI.");
}

void* number(uint32_t value) { return reinterpret_cast<void*>(static_cast<uintptr_t>(value)); }

void set_handles(void* file, Mpi* mpi) {
  if (void* world = dlsym(file, "ompi_mpi_comm_world")) {
    mpi->comm_world = world;
    mpi->type_byte = dlsym(file, "ompi_mpi_byte");
    mpi->type_float = dlsym(file, "ompi_mpi_float");
    mpi->op_sum = dlsym(file, "ompi_mpi_op_sum");
    mpi->errors_return = dlsym(file, "ompi_mpi_errors_return");
    mpi->status_ignore = nullptr;
    return;
  }
  mpi->comm_world = number(0x44000000);
  mpi->type_byte = number(0x4c00010d);
  mpi->type_float = number(0x4c00040a);
  mpi->op_sum = number(0x58000003);
  mpi->errors_return = number(0x54000001);
  mpi->status_ignore = number(1);
}

// UCX, which MPI may send through, otherwise rewrites malloc and mmap of the process and catches its signals. Node.js
// has other threads in these functions while that happens.
void keep_ucx_out() {
  setenv("UCX_MEM_EVENTS", "n", 0);
  setenv("UCX_MEM_MMAP_HOOK_MODE", "none", 0);
  setenv("UCX_MEM_CUDA_HOOK_MODE", "none", 0);
  setenv("UCX_ERROR_SIGNALS", "", 0);
}

Mpi load(const std::string& library) {
  keep_ucx_out();
  std::string name;
  void* file = open_library(library.empty() ? setting("TE_MPI") : library, &name);
  Mpi mpi;
  find(file, "MPI_Init_thread", name, &mpi.init_thread);
  find(file, "MPI_Initialized", name, &mpi.initialized);
  find(file, "MPI_Finalized", name, &mpi.finalized);
  find(file, "MPI_Finalize", name, &mpi.finalize);
  find(file, "MPI_Abort", name, &mpi.abort);
  find(file, "MPI_Comm_rank", name, &mpi.comm_rank);
  find(file, "MPI_Comm_size", name, &mpi.comm_size);
  find(file, "MPI_Comm_set_errhandler", name, &mpi.comm_set_errhandler);
  find(file, "MPI_Isend", name, &mpi.isend);
  find(file, "MPI_Irecv", name, &mpi.irecv);
  find(file, "MPI_Test", name, &mpi.test);
  find(file, "MPI_Cancel", name, &mpi.cancel);
  find(file, "MPI_Error_string", name, &mpi.error_string);
  find(file, "MPI_Barrier", name, &mpi.barrier);
  find(file, "MPI_Allreduce", name, &mpi.allreduce);
  find(file, "MPI_Allgather", name, &mpi.allgather);
  find(file, "MPI_Reduce_scatter_block", name, &mpi.reduce_scatter_block);
  find(file, "MPI_Alltoall", name, &mpi.alltoall);
  set_handles(file, &mpi);
  return mpi;
}

}  // namespace

const Mpi& load_mpi(const std::string& library) {
  static const Mpi mpi = load(library);
  return mpi;
}

void check_mpi(const Mpi& mpi, int code, const char* function) {
  if (code == 0) return;
  char text[1024] = {};
  int length = 0;
  mpi.error_string(code, text, &length);
  throw Error("backend", std::string(function) + ": " + text);
}

}  // namespace te
