// A file is a mark, the fingerprint of its image, and the image.
#include "cuda/elementwise/kernel_cache.h"

#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "te/settings.h"

namespace te::cuda {
namespace {

namespace fs = std::filesystem;
constexpr char kMark[] = "te kernel 1\n";

// FNV-1a.
uint64_t hash(const std::string& text, uint64_t state) {
  for (const char c : text) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return state;
}

void note_unwritable(const std::string& folder, const std::string& why) {
  static std::atomic<bool> noted = false;
  if (noted.exchange(true)) return;
  note_problem("The folder of compiled kernels, " + folder + ", cannot be written (" + why +
               "), and so every process compiles them again; TE_KERNEL_CACHE names another.");
}

}  // namespace

std::string fingerprint(const std::string& text) {
  char hex[33];
  std::snprintf(hex, sizeof hex, "%016llx%016llx", static_cast<unsigned long long>(hash(text, 0xcbf29ce484222325ull)),
                static_cast<unsigned long long>(hash(text + "2", 0x84222325cbf29ce4ull)));
  return hex;
}

std::string kernel_cache_folder() {
  const std::string asked = setting("TE_KERNEL_CACHE"), home = setting("HOME"), cache = setting("XDG_CACHE_HOME");
  if (asked == "off") return "";
  if (!asked.empty()) return asked;
#ifdef TE_CUDA_EMULATED
  return "";  // what it compiles is of this build of the emulator
#endif
  if (!cache.empty()) return cache + "/te/kernels";
  return home.empty() ? "" : home + "/.cache/te/kernels";
}

bool read_cached(const std::string& folder, const std::string& key, std::string* image) {
  if (folder.empty()) return false;
  std::ifstream file(folder + "/" + key, std::ios::binary);
  const std::string all{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  constexpr size_t kHead = sizeof kMark - 1 + 32;
  if (all.size() <= kHead || all.compare(0, sizeof kMark - 1, kMark) != 0) return false;
  *image = all.substr(kHead);
  return all.compare(sizeof kMark - 1, 32, fingerprint(*image)) == 0;
}

void write_cached(const std::string& folder, const std::string& key, const std::string& image) {
  if (folder.empty()) return;
  static std::atomic<int> count = 0;
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) return note_unwritable(folder, error.message());
  const std::string part = folder + "/" + key + "." + std::to_string(getpid()) + "." + std::to_string(++count);
  {
    std::ofstream file(part, std::ios::binary);
    file << kMark << fingerprint(image) << image;
    file.close();
    if (!file) {
      fs::remove(part, error);
      return note_unwritable(folder, "a file of " + std::to_string(image.size()) + " bytes was refused");
    }
  }
  fs::rename(part, folder + "/" + key, error);
  if (error) note_unwritable(folder, error.message());
}

}  // namespace te::cuda
