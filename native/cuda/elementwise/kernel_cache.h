// Machine code on disk, one file for each key. Whatever is wrong with a file, or with the folder, is as if there were
// none: the kernel is compiled again.
#pragma once
#include <cstdint>
#include <string>

namespace te::cuda {

// The folder of TE_KERNEL_CACHE, else one in the user's cache; "" for none ("off").
std::string kernel_cache_folder();

bool read_cached(const std::string& folder, const std::string& key, std::string* image);
// Other processes see all of it or nothing. A folder that cannot be written is noted once, for te::problems().
void write_cached(const std::string& folder, const std::string& key, const std::string& image);

// 128 bits of the text in hexadecimal: a name for a file.
std::string fingerprint(const std::string& text);

}  // namespace te::cuda
