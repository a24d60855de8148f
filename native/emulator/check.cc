// Looks at every access of instrumented kernels: bounds, memory that nothing wrote, and races.
#include "emulator/check.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "emulator/fiber.h"
#include "emulator/runtime.h"

namespace te::emu {
namespace {

// Who touched a byte: the run of a block (counted over all launches), warp, lane, and the warp's clock then.
struct Access {
  uint32_t run = 0;
  uint32_t who = 0;  // clock << 10 | warp << 5 | lane
  int warp() const { return static_cast<int>(who >> 5 & 31); }
  int lane() const { return static_cast<int>(who & 31); }
  uint32_t clock() const { return who >> 10; }
};
struct Cell {
  Access write, read, other_read;
};
enum State : uint8_t { nowhere = 0, undefined = 1, defined = 2, under_way = 3 };

constexpr size_t kShadowed = size_t{16} << 30, kShared = 256 << 10, kPage = 4096;
char* arena_begin = nullptr;
uint8_t* arena_states = nullptr;
Cell* arena_cells = nullptr;
uint8_t shared_states[kShared];
Cell shared_cells[kShared];
std::unordered_map<uintptr_t, Cell*> pages;  // of static variables
uintptr_t last_page = 0;
Cell* last_cells = nullptr;

uint32_t run = 0, first_run_of_grid = 1;
uint32_t clocks[32][32];  // [w][v]: how far w knows v
struct Knowledge {
  uint32_t run = 0;
  uint32_t clock[32];
};
std::unordered_map<const void*, Knowledge> released_objects;

void begin_block() {
  ++run;
  std::memset(clocks, 0, sizeof clocks);
  for (int w = 0; w < 32; ++w) clocks[w][w] = 1;
  std::memset(shared_states, undefined, context.shared_bytes);
}
void end_grid() { first_run_of_grid = run + 1; }

void barrier_done(uint32_t warps) {
  uint32_t all[32] = {};
  for (int w = 0; w < 32; ++w)
    if (warps >> w & 1)
      for (int v = 0; v < 32; ++v) all[v] = std::max(all[v], clocks[w][v]);
  for (int w = 0; w < 32; ++w) {
    if (!(warps >> w & 1)) continue;
    std::memcpy(clocks[w], all, sizeof all);
    ++clocks[w][w];
  }
}
void warp_done(int warp, uint32_t) { ++clocks[warp][warp]; }

void released(const void* object) {
  Knowledge& k = released_objects[object];
  if (k.run != run) k = Knowledge{run, {}};
  const int w = context.lane->warp;
  for (int v = 0; v < 32; ++v) k.clock[v] = std::max(k.clock[v], clocks[w][v]);
  ++clocks[w][w];
}
void acquired(const void* object) {
  const auto found = released_objects.find(object);
  if (found == released_objects.end() || found->second.run != run) return;
  const int w = context.lane->warp;
  for (int v = 0; v < 32; ++v)
    if (v != w) clocks[w][v] = std::max(clocks[w][v], found->second.clock[v]);
  ++clocks[w][w];
}

[[maybe_unused]] const bool installed = [] {
  hooks = {begin_block, end_grid, barrier_done, warp_done, released, acquired};
  return true;
}();

void shadow_arena(void* p) {
  if (arena_states) return;
  arena_begin = static_cast<char*>(p);  // the first allocation is the arena's beginning
  const auto map = [](size_t bytes) {
    void* m = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED) std::perror("te emulator: shadow memory"), std::abort();
    return m;
  };
  arena_states = static_cast<uint8_t*>(map(kShadowed));
  arena_cells = static_cast<Cell*>(map(kShadowed * sizeof(Cell)));
}

// Is `a` ordered before what the running thread does now? Blocks of one launch share global memory only.
inline bool before(const Access& a, int warp, int lane, bool global) {
  if (a.run != run) return !global || a.run < first_run_of_grid;
  if (a.warp() == warp) return a.lane() == lane || a.clock() < clocks[warp][warp];
  return a.clock() <= clocks[warp][a.warp()];
}

[[noreturn]] void race(const char* now, const char* then, const Access& a, const char* p, const char* what) {
  if (a.run != run)
    fail("race: this thread %s %s memory at %p that another block of this launch %s", now, what, p, then);
  fail("race: this thread %s %s memory at %p that warp %d lane %d %s, and no barrier lies between", now, what, p,
       a.warp(), a.lane(), then);
}

inline void touch(Cell* c, const char* p, size_t bytes, bool writes, bool global) {
  const char* what = global ? "global" : "shared";
  const int warp = context.lane->warp, lane = context.lane->lane;
  const Access self{run, clocks[warp][warp] << 10 | static_cast<uint32_t>(warp) << 5 | static_cast<uint32_t>(lane)};
  for (size_t i = 0; i < bytes; ++i, ++c) {
    if (!before(c->write, warp, lane, global)) race(writes ? "writes" : "reads", "wrote", c->write, p + i, what);
    if (writes) {
      if (!before(c->read, warp, lane, global)) race("writes", "read", c->read, p + i, what);
      if (!before(c->other_read, warp, lane, global)) race("writes", "read", c->other_read, p + i, what);
      c->write = self;
    } else {
      if (c->read.run != run || c->read.who != self.who) {
        if (!before(c->read, warp, lane, global)) c->other_read = c->read;
        c->read = self;
      }
    }
  }
}

void access(const char* p, size_t bytes, bool writes, bool async = false) {
  static const Range lanes = lane_range();
  static const Range own{reinterpret_cast<char*>(&context), reinterpret_cast<char*>(&context + 1)};
  static Range stacks{};
  if (!executing || !context.lane) return;  // the host's
  if (!stacks.begin) stacks = stack_range();
  if (stacks.holds(p) || lanes.holds(p) || own.holds(p)) return;
  if (p >= context.arguments && p < context.arguments + context.argument_bytes && !writes) return;
  if (is_device_address(p)) {
    const size_t at = static_cast<size_t>(p - arena_begin);
    uint8_t* states = arena_states + at;
    for (size_t i = 0; i < bytes; ++i) {
      if (states[i] == nowhere)
        fail("%s %zu bytes of global memory at %p, of which byte %zu is not allocated", writes ? "writes" : "reads",
             bytes, p, i);
      if (!writes && states[i] == undefined) fail("reads global memory at %p that nothing wrote", p + i);
    }
    if (reinterpret_cast<uintptr_t>(p) % bytes && (bytes & (bytes - 1)) == 0)
      fail("%s %zu bytes at %p, which is not aligned", writes ? "writes" : "reads", bytes, p);
    touch(arena_cells + at, p, bytes, writes, true);
    if (writes) std::memset(states, defined, bytes);
    return;
  }
  if (context.shared && p >= context.shared && p < context.shared + kShared) {
    const size_t at = static_cast<size_t>(p - context.shared);
    if (at + bytes > context.shared_bytes)
      fail("%s %zu bytes at offset %zu of dynamic shared memory, of which there are %zu", writes ? "writes" : "reads",
           bytes, at, context.shared_bytes);
    for (size_t i = 0; i < bytes; ++i) {
      if (shared_states[at + i] == under_way && !async)
        fail("%s shared memory at offset %zu while a copy to it is under way", writes ? "writes" : "reads", at + i);
      if (!writes && shared_states[at + i] == undefined)
        fail("reads shared memory at offset %zu that nothing wrote", at + i);
    }
    touch(shared_cells + at, p, bytes, writes, false);
    if (writes) std::memset(shared_states + at, defined, bytes);
    return;
  }
  const uintptr_t page = reinterpret_cast<uintptr_t>(p) / kPage;
  if (page != last_page) {
    Cell*& cells = pages[page];
    if (!cells) {
      Dl_info info;
      if (!dladdr(p, &info)) fail("%s host memory at %p", writes ? "writes" : "reads", p);
      cells = new Cell[kPage + 64];
    }
    last_page = page;
    last_cells = cells;
  }
  touch(last_cells + reinterpret_cast<uintptr_t>(p) % kPage, p, bytes, writes, false);
}

}  // namespace

void check_allocated(void* p, size_t bytes) {
  shadow_arena(p);
  std::memset(arena_states + (static_cast<char*>(p) - arena_begin), undefined, bytes);
}
void check_freed(void* p, size_t bytes) {
  std::memset(arena_states + (static_cast<char*>(p) - arena_begin), nowhere, bytes);
}
void check_written(void* p, size_t bytes) {
  if (is_device_address(p)) std::memset(arena_states + (static_cast<char*>(p) - arena_begin), defined, bytes);
}
void check_copy(void* to, const void* from, size_t bytes) {
  if (!is_device_address(to)) return;
  uint8_t* states = arena_states + (static_cast<char*>(to) - arena_begin);
  if (is_device_address(from))
    std::memmove(states, arena_states + (static_cast<const char*>(from) - arena_begin), bytes);
  else
    std::memset(states, defined, bytes);
}
void check_read_by_kernel(const void* p, size_t bytes) { access(static_cast<const char*>(p), bytes, false); }
void check_async_write_begins(void* p, size_t bytes) {
  access(static_cast<char*>(p), bytes, true);
  if (context.shared && p >= context.shared && p < context.shared + kShared)
    std::memset(shared_states + (static_cast<char*>(p) - context.shared), under_way, bytes);
}
uint64_t check_engine_write_begins(void* p, size_t bytes) {
  check_async_write_begins(p, bytes);
  const int w = context.lane->warp;
  return static_cast<uint64_t>(w) << 32 | clocks[w][w];
}
void check_engine_write_ends(void* p, size_t bytes, const void* object, uint64_t ticket) {
  std::memset(shared_states + (static_cast<char*>(p) - context.shared), defined, bytes);
  Knowledge& k = released_objects[object];
  if (k.run != run) k = Knowledge{run, {}};
  uint32_t& known = k.clock[ticket >> 32];
  known = std::max(known, static_cast<uint32_t>(ticket));
}
void check_async_write_ends(void* p, size_t bytes) { access(static_cast<char*>(p), bytes, true, true); }

}  // namespace te::emu

// Also for code that is compiled at run time.
#pragma GCC visibility push(default)
#define TE_EMU_ACCESS(n)                                                                       \
  void __tsan_read##n(void* p) { te::emu::access(static_cast<char*>(p), n, false); }           \
  void __tsan_write##n(void* p) { te::emu::access(static_cast<char*>(p), n, true); }           \
  void __tsan_unaligned_read##n(void* p) { te::emu::access(static_cast<char*>(p), n, false); } \
  void __tsan_unaligned_write##n(void* p) { te::emu::access(static_cast<char*>(p), n, true); } \
  void __tsan_volatile_read##n(void*) {}                                                       \
  void __tsan_volatile_write##n(void* p) { te::emu::check_written(p, n); }                     \
  void __tsan_unaligned_volatile_read##n(void*) {}                                             \
  void __tsan_unaligned_volatile_write##n(void* p) { te::emu::check_written(p, n); }
extern "C" {
TE_EMU_ACCESS(1)
TE_EMU_ACCESS(2)
TE_EMU_ACCESS(4)
TE_EMU_ACCESS(8)
TE_EMU_ACCESS(16)
void __tsan_read_range(void* p, size_t n) { te::emu::access(static_cast<char*>(p), n, false); }
void __tsan_write_range(void* p, size_t n) { te::emu::access(static_cast<char*>(p), n, true); }
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
}
#pragma GCC visibility pop

// Of host code in the same file: reference counts and guards of statics.
#define TE_EMU_ATOMICS(bits, type)                                                                              \
  type __tsan_atomic##bits##_load(const volatile type* p, int) { return __atomic_load_n(p, __ATOMIC_SEQ_CST); } \
  void __tsan_atomic##bits##_store(volatile type* p, type x, int) { __atomic_store_n(p, x, __ATOMIC_SEQ_CST); } \
  type __tsan_atomic##bits##_fetch_add(volatile type* p, type x, int) {                                         \
    return __atomic_fetch_add(p, x, __ATOMIC_SEQ_CST);                                                          \
  }                                                                                                             \
  type __tsan_atomic##bits##_fetch_sub(volatile type* p, type x, int) {                                         \
    return __atomic_fetch_sub(p, x, __ATOMIC_SEQ_CST);                                                          \
  }
extern "C" {
TE_EMU_ATOMICS(8, unsigned char)
TE_EMU_ATOMICS(16, unsigned short)
TE_EMU_ATOMICS(32, unsigned)
TE_EMU_ATOMICS(64, unsigned long)
}
