// NVIDIA's libraries that are opened at run time.
#pragma once
#include <string>
#include <vector>

namespace te::cuda {

// Where a library may be.
struct LibraryPlaces {
  std::string setting;             // the variable that names its file, "TE_CUBLASLT"
  std::vector<std::string> files;  // "libcublasLt.so.13", the best first
  std::string python;              // folders of NVIDIA's Python packages, as a pattern: "{cu13,cublas}"
  std::string stand_in;            // what takes its place on the emulator, a file beside this one
};

// Opens the file that the setting names, else the first of those in CUDA_HOME, of the system, and of NVIDIA's Python
// packages. nullptr after setting *why when there is none.
void* open_library(const LibraryPlaces& places, std::string* why);

}  // namespace te::cuda
