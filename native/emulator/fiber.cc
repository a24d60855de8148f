// Who of a block's threads runs when.
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "emulator/block.h"

namespace te::emu {

Context context;
thread_local bool executing = false;
Statistics statistics;
Hooks hooks;
Block block;

namespace {

// A set bit of a mask that is not 0.
inline int pick(uint32_t mask) {
  if (mask == 0xffffffffu) return static_cast<int>(draw() >> 59);
  const int turn = static_cast<int>(draw() >> 59);
  const uint32_t turned = mask >> turn | (turn ? mask << (32 - turn) : 0);
  return (__builtin_ctz(turned) + turn) & 31;
}

std::string describe_waiting() {
  std::string text;
  int shown = 0;
  for (int t = 0; t < kMaxThreads && shown < 4; ++t) {
    const Lane& l = block.lanes[t];
    if (!l.alive || !l.waits_for) continue;
    char line[160];
    std::snprintf(line, sizeof line, "\n  thread %d (warp %d lane %d) waits in %s, line %d", t, l.warp, l.lane,
                  l.waits_for, l.line);
    text += line;
    ++shown;
  }
  return text;
}

// The random numbers of the schedule.
uint64_t random_state = 0x9e3779b97f4a7c15;

uint64_t initial_seed() {
  const char* text = std::getenv("TE_EMU_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 1;
}
[[maybe_unused]] const bool seeded = (set_seed(initial_seed()), true);

constexpr uint64_t kMaxSpins = 20'000'000;

}  // namespace

void next(void** save) {
  if (!block.ready_warps) {
    if (block.live > 0 && !block.failed) {
      block.failed = true;
      block.failure =
          "deadlock: " + std::to_string(block.live) + " threads wait for others that never come" + describe_waiting();
    }
    void* unused;
    te_emu_switch(save ? save : &unused, block.main_stack_pointer);
    return;
  }
  // Some orders come up seldom in a uniform draw: one warp far ahead of the others, or far behind.
  int w;
  switch (block.spins ? 0 : block.policy) {
    case 1:
      w = __builtin_ctz(block.ready_warps);
      break;
    case 2:
      w = 31 - __builtin_clz(block.ready_warps);
      break;
    default:
      w = pick(block.ready_warps);
  }
  Warp& warp = block.warps[w];
  const int l = pick(warp.ready);
  warp.ready &= ~(1u << l);
  if (!warp.ready) block.ready_warps &= ~(1u << w);
  Lane* to = &block.lanes[w * 32 + l];
  if (save && &to->stack_pointer == save) {  // drew itself
    context.lane = to;
    return;
  }
  context.lane = to;
  to->waits_for = nullptr;
  ++statistics.switches;
  void* unused;
  te_emu_switch(save ? save : &unused, to->stack_pointer);
}

void wait(const char* what, int line) {
  Lane* self = context.lane;
  self->waits_for = what;
  self->line = line;
  next(&self->stack_pointer);
  context.lane = self;
}

void set_seed(uint64_t seed) { random_state = (seed + 1) * 0x9e3779b97f4a7c15; }

uint64_t draw() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state * 0x2545f4914f6cdd1d;
}

Range lane_range() {
  return {reinterpret_cast<char*>(block.lanes), reinterpret_cast<char*>(block.lanes + kMaxThreads)};
}

uint32_t live_lanes() { return block.warps[context.lane->warp].live; }

void spin(const char* what) {
  if (++block.spins > kMaxSpins) fail("endless wait: %s", what);
  Lane* self = context.lane;
  block.set_ready(self->warp, 1u << self->lane);
  wait(what, 0);
}

void preempt() {
  if (draw() >> 62) return;
  Lane* self = context.lane;
  block.set_ready(self->warp, 1u << self->lane);
  wait("preempt", 0);
}

void progress() { block.spins = 0; }

}  // namespace te::emu
