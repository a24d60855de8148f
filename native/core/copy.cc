// Copies by several threads that live no longer than the copy.
#include "te/copy.h"

#include <algorithm>
#include <cstring>
#include <system_error>
#include <thread>
#include <vector>

namespace te {
namespace {
constexpr size_t kPerThread = size_t{8} << 20;  // takes far longer than starting a thread
constexpr size_t kMostThreads = 8;              // more do not copy faster
}  // namespace

void copy_bytes(void* to, const void* from, size_t bytes) {
  if (bytes == 0) return;
  const size_t cores = std::max(1u, std::thread::hardware_concurrency());
  const size_t pieces = std::max<size_t>(1, std::min({bytes / kPerThread, cores, kMostThreads}));
  const auto copy = [=](size_t piece) {
    // Borders at whole huge pages, so that no two threads touch one first.
    const auto border = [=](size_t i) { return i == pieces ? bytes : (bytes / pieces * i) >> 21 << 21; };
    std::memcpy(static_cast<char*>(to) + border(piece), static_cast<const char*>(from) + border(piece),
                border(piece + 1) - border(piece));
  };
  std::vector<std::thread> helpers;
  size_t next = 1;
  try {
    for (; next < pieces; ++next) helpers.emplace_back(copy, next);
  } catch (const std::system_error&) {  // no more threads are to be had
  }
  copy(0);
  for (; next < pieces; ++next) copy(next);
  for (std::thread& helper : helpers) helper.join();
}

}  // namespace te
