// The block that runs now: its threads, who of them may go on, and where the others wait. Inside of the emulator.
#pragma once
#include <string>

#include "emulator/fiber.h"
#include "emulator/stack.h"

namespace te::emu {

constexpr int kMaxWarps = 32, kBarriers = 16;

struct Meeting {  // of a warp's lanes in a collective
  uint32_t mask = 0, arrived = 0;
  const char* name = nullptr;
  void* args[32];
};

struct Warp {
  uint32_t ready = 0, live = 0;
  Meeting meetings[4];  // of disjoint masks
};

struct Barrier {
  int arrived = 0, expected = 0;
  int line = 0;
  uint32_t waiting[kMaxWarps] = {};
};

struct Block {
  Lane lanes[kMaxThreads];
  Warp warps[kMaxWarps];
  Barrier barriers[kBarriers];
  uint32_t ready_warps = 0;
  int live = 0;
  uint64_t spins = 0;  // turns since anything but spinning happened
  int policy = 0;      // which warps go first
  void* main_stack_pointer = nullptr;
  std::string failure;
  bool failed = false;

  void set_ready(int warp, uint32_t mask) {
    warps[warp].ready |= mask;
    ready_warps |= 1u << warp;
  }
};
extern Block block;

// Goes on with another thread, or with the block's end. The caller is queued or waits somewhere.
void next(void** save);
// The calling thread waits; what for is told when nobody can go on.
void wait(const char* what, int line);
// The calling thread ends. It counts as arrived wherever the others wait for it.
[[noreturn]] void thread_end();

}  // namespace te::emu
