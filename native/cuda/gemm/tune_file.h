// The file of TE_TUNE: a line that names the format, then a line for each problem, its key and the algorithm in
// hexadecimal digits. Algorithms are those of one version of cuBLASLt, which the key holds.
#pragma once
#include <map>
#include <string>

#include "cuda/gemm/cublaslt.h"

namespace te::cuda {

// Nothing where there is no file, or after one sentence where it is damaged.
std::map<std::string, lt::Algo> read_tune_file(const std::string& path);

// Adds one to what the file has by now. Replaces the file as a whole, so that readers see the old one or the new one;
// one sentence where that fails.
void add_to_tune_file(const std::string& path, const std::string& key, const lt::Algo& algo);

}  // namespace te::cuda
