// Reading and writing the file of TE_TUNE.
#include "cuda/gemm/tune_file.h"

#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

namespace te::cuda {
namespace {

constexpr const char* kFirstLine = "products of te, format 1";

// Once for each: people are told, programs go on.
void say(const std::string& path, const std::string& what) {
  static auto* said = new std::set<std::string>;
  if (said->insert(path + what).second) std::fprintf(stderr, "te: TE_TUNE_FILE %s %s.\n", path.c_str(), what.c_str());
}

std::string hex(const lt::Algo& algo) {
  std::string text;
  char digits[17];
  for (uint64_t word : algo.data) {
    std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(word));
    text += digits;
  }
  return text;
}

std::optional<lt::Algo> algo_of(const std::string& text) {
  if (text.size() != 128 || text.find_first_not_of("0123456789abcdef") != std::string::npos) return std::nullopt;
  lt::Algo algo;
  for (size_t i = 0; i < 8; ++i) algo.data[i] = std::stoull(text.substr(i * 16, 16), nullptr, 16);
  return algo;
}

}  // namespace

std::map<std::string, lt::Algo> read_tune_file(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (path.empty() || !file) return {};
  std::map<std::string, lt::Algo> all;
  bool good = static_cast<bool>(std::getline(file, line)) && line == kFirstLine;
  while (good && std::getline(file, line)) {
    const size_t tab = line.find('\t');
    const auto algo = tab == std::string::npos ? std::nullopt : algo_of(line.substr(tab + 1));
    good = algo.has_value();
    if (good) all[line.substr(0, tab)] = *algo;
  }
  if (good) return all;
  say(path, "is damaged and is not used; products are timed again where TE_TUNE=1");
  return {};
}

void add_to_tune_file(const std::string& path, const std::string& key, const lt::Algo& algo) {
  if (path.empty()) return;
  auto all = read_tune_file(path);
  all[key] = algo;
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  const std::string fresh = path + "." + std::to_string(getpid());
  std::ofstream file(fresh, std::ios::trunc);
  file << kFirstLine << '\n';
  for (const auto& [problem, choice] : all) file << problem << '\t' << hex(choice) << '\n';
  file.close();
  if (file) std::filesystem::rename(fresh, path, error);
  if (!file || error) {
    say(path, "cannot be written");
    std::filesystem::remove(fresh, error);
  }
}

}  // namespace te::cuda
