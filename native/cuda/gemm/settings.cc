// Reads the environment variables of products.
#include "cuda/gemm/settings.h"

#include <algorithm>
#include <vector>

#include "te/settings.h"

namespace te::cuda {
namespace {

// The value of a variable that must be one of `allowed`; the first where it is not set or wrong.
std::string choice(const char* name, const std::vector<std::string>& allowed) {
  const std::string wish = setting(name);
  if (wish.empty() || std::find(allowed.begin(), allowed.end(), wish) != allowed.end())
    return wish.empty() ? allowed[0] : wish;
  std::string list = allowed[0];
  for (size_t i = 1; i < allowed.size(); ++i) {
    list += i + 1 < allowed.size() ? ", " : " or ";
    list += allowed[i];
  }
  note_problem(std::string(name) + " must be " + list + ", got \"" + wish + "\"; " + allowed[0] + " is used");
  return allowed[0];
}

std::string default_tune_file() {
  const std::string cache = setting("XDG_CACHE_HOME"), home = setting("HOME");
  if (!cache.empty()) return cache + "/te/products.txt";
  return home.empty() ? "" : home + "/.cache/te/products.txt";
}

ProductSettings read() {
  ProductSettings settings;
  settings.tf32 = choice("TE_MATMUL_PRECISION", {"highest", "high", "default"}) != "highest";
  settings.precise_fp8 = choice("TE_FP8_ACCUMULATION", {"fast", "precise"}) == "precise";
  const std::string tune = choice("TE_TUNE", {"0", "1", "off"});
  settings.tune = tune == "1"     ? ProductSettings::Tune::time
                  : tune == "off" ? ProductSettings::Tune::no_file
                                  : ProductSettings::Tune::read;
  settings.tune_file = setting("TE_TUNE_FILE");
  if (settings.tune_file.empty()) settings.tune_file = default_tune_file();
  return settings;
}

}  // namespace

const ProductSettings& product_settings() {
  static const ProductSettings settings = read();
  return settings;
}

}  // namespace te::cuda
