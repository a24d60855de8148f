// Memory in blocks from a pool that keeps what is given back, because fresh pages cost more than most kernels.
#pragma once
#include <cstddef>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace te {

// Where the blocks of a pool come from. Called under the pool's lock, from any thread.
class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual void* allocate(size_t bytes) = 0;  // aligned to 64 bytes at least; nullptr when there is no room
  // Work that was enqueued before may still use the block: where that is done late, it is freed behind it.
  virtual void release(void* data) = 0;
  virtual size_t capacity() const = 0;     // bytes in all
  virtual size_t cache_limit() const = 0;  // bytes that a pool may keep; 0: blocks are exact, and none is kept
  virtual const char* owner() const { return "the machine"; }
};

class Pool {
 public:
  explicit Pool(Allocator& allocator) : allocator_(allocator), limit_(allocator.cache_limit()) {}

  // Throws te::Error "memory" when there is not that much.
  void* take(size_t bytes);
  void give(void* data, size_t bytes);
  // Returns all cached blocks to the allocator.
  void trim();

  size_t capacity() const { return allocator_.capacity(); }
  // Throws te::Error "memory" when `bytes` more than `used` can never fit.
  void expect_room(size_t bytes, size_t used = 0) const;

  struct Stats {
    size_t used = 0, peak = 0, cached = 0;
  };
  Stats stats();
  void reset_peak();

 private:
  size_t size_class(size_t bytes) const;
  void trim_locked();

  Allocator& allocator_;
  const size_t limit_;
  std::mutex mutex_;
  std::map<size_t, std::vector<void*>> free_;  // by size class
  Stats stats_;
};

// "12.3 GB"
std::string format_bytes(double bytes);

}  // namespace te
