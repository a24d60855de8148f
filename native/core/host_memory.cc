// Host memory: aligned blocks of the system, and how much of it there is.
#include "te/host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "te/sanitize.h"

namespace te {
namespace {

constexpr size_t kHuge = size_t{2} << 20;

// Bytes that the machine, or this process's control group, has in all.
size_t machine_memory() {
  size_t total = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGE_SIZE));
  std::ifstream file("/sys/fs/cgroup/memory.max");  // "max" does not parse and leaves the machine's own size
  size_t limit = 0;
  if (file >> limit && limit > 0) total = std::min(total, limit);
  return total;
}

class HostAllocator : public Allocator {
 public:
  void* allocate(size_t bytes) override {
    void* data = nullptr;
    if (posix_memalign(&data, bytes >= 2 * kHuge ? kHuge : 64, bytes) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
    if (bytes >= 2 * kHuge) madvise(data, bytes & ~(kHuge - 1), MADV_HUGEPAGE);
#endif
    return data;
  }
  void release(void* data) override { std::free(data); }
  size_t capacity() const override { return capacity_; }
  size_t cache_limit() const override { return kExactMemory ? 0 : std::max<size_t>(size_t{64} << 20, capacity_ / 8); }

 private:
  const size_t capacity_ = machine_memory();
};

}  // namespace

Pool& host_pool() {
  static auto* pool = new Pool(*new HostAllocator);
  return *pool;
}

}  // namespace te
