// One block of CUDA threads on one CPU thread. Every CUDA thread is a fiber that runs until it has to wait for others:
// at a barrier, in a warp operation, or in a spin loop. Who goes on then is drawn at random from a seed, so that code
// which lacks a barrier meets the orders in which it fails.
//
// Everything here belongs to the thread that executes kernels; there is one at a time.
#pragma once
#include <vector_types.h>

#include <cstddef>
#include <cstdint>

namespace te::emu {

struct Lane {
  void* stack_pointer;
  uint3 thread;
  uint16_t warp;
  uint8_t lane;
  bool alive;
  const char* waits_for;  // for the report of a deadlock
  int line;               // where it waits, 0 if unknown
};

// The running thread, its block and its grid.
struct Context {
  Lane* lane = nullptr;
  uint3 block{};
  dim3 grid, threads;
  char* shared = nullptr;  // dynamic shared memory
  size_t shared_bytes = 0;
  const char* arguments = nullptr;  // of the kernel
  size_t argument_bytes = 0;
};
__attribute__((visibility("default"))) extern Context context;  // also for code that is compiled at run time
// Whether this thread of the processor is the one that executes a kernel: others may run the host's code meanwhile.
extern thread_local bool executing;

// __syncthreads, bar.sync and barrier.sync. `expected`: the threads that take part, 0 for all that are alive.
// `line`: of the kernel's source, because the compiler may make two calls of one.
void barrier(int id, int expected, const char* name, int line);
// bar.arrive: counts as arrived, and goes on.
void barrier_arrive(int id, int expected);

// An operation of the lanes of `mask`, each of which calls it. The last to come runs `body` over the arguments of all.
// `name` is compared by address: lanes that meet in different operations are an error.
using Body = void (*)(void* const args[32], uint32_t mask);
void collective(uint32_t mask, const char* name, Body body, void* arg);

// One turn of a spin loop: lets others run. Fails when nothing but spinning has happened for long.
void spin(const char* what);
// Lets others run, now and then: after something that others wait for.
void preempt();
// Something happened that a spinning thread may wait for.
void progress();

uint32_t live_lanes();  // of the warp

// Ends the launch with an error that the runtime reports. Does not return.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

// Runs a grid to its end. Returns nullptr, or what went wrong.
const char* run_grid(dim3 grid, dim3 threads, size_t shared_bytes, void (*kernel)(void*), void* arguments,
                     size_t argument_bytes, const char* name);

void set_seed(uint64_t seed);  // TE_EMU_SEED at start
uint64_t draw();               // a random number of the schedule

struct Statistics {
  uint64_t launches = 0, blocks = 0, threads = 0, switches = 0, collectives = 0, barriers = 0;
  // Of matrix loads from shared memory: turns / accesses is 1 without bank conflicts, 8 at worst.
  uint64_t shared_accesses = 0, shared_turns = 0;
};
extern Statistics statistics;

// Called by the checker, where one is linked.
struct Hooks {
  void (*begin_block)() = nullptr;
  void (*end_grid)() = nullptr;
  void (*barrier_done)(uint32_t warps) = nullptr;        // threads of these warps met
  void (*warp_done)(int warp, uint32_t mask) = nullptr;  // these lanes met
  // What a thread did before it released an object is seen by those that acquire the object later.
  void (*released)(const void* object) = nullptr;
  void (*acquired)(const void* object) = nullptr;
};
extern Hooks hooks;

// Memory that belongs to the emulator itself.
struct Range {
  const char* begin;
  const char* end;
  bool holds(const void* p) const { return p >= begin && p < end; }
};
Range stack_range();
Range lane_range();

// Whether the bytes lie in the block's dynamic shared memory.
inline bool is_shared_offset_valid(const void* p, size_t bytes) {
  const char* c = static_cast<const char*>(p);
  return c >= context.shared && c + bytes <= context.shared + context.shared_bytes;
}

}  // namespace te::emu
