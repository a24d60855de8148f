// Where threads meet: barriers of the block, operations of a warp, and the end.
#include <cstdarg>
#include <cstdio>
#include <utility>

#include "emulator/block.h"

namespace te::emu {
namespace {

uint32_t waiting_warps(const Barrier& b) {
  uint32_t all = 0;
  for (int w = 0; w < kMaxWarps; ++w) all |= b.waiting[w] ? 1u << w : 0;
  return all;
}

void release(Barrier& b) {
  for (int w = 0; w < kMaxWarps; ++w)
    if (b.waiting[w]) block.set_ready(w, std::exchange(b.waiting[w], 0));
  b.arrived = b.expected = 0;
  b.line = 0;
}

}  // namespace

// A thread that ends counts as arrived wherever the others wait for it.
void thread_end() {
  Lane* self = context.lane;
  Warp& warp = block.warps[self->warp];
  self->alive = false;
  warp.live &= ~(1u << self->lane);
  --block.live;
  for (const Meeting& m : warp.meetings)
    if (m.mask >> self->lane & 1)
      fail("a thread ended while its warp waits for it in %s with mask %08x", m.name, m.mask);
  Barrier& b = block.barriers[0];
  if (b.arrived > 0 && b.arrived >= block.live) {
    ++statistics.barriers;
    if (hooks.barrier_done) hooks.barrier_done(waiting_warps(b));
    release(b);
  }
  next(nullptr);
  __builtin_unreachable();
}

void barrier(int id, int expected, const char* name, int line) {
  Lane* self = context.lane;
  Barrier& b = block.barriers[id];
  const bool all = expected == 0;
  const int target = all ? block.live : expected;
  if (!all && expected % 32) fail("%s %d: %d threads is no multiple of the warp size", name, id, expected);
  if (b.arrived == 0) {
    b.line = line;
    b.expected = expected;
  } else if (all && b.line != line) {
    fail("%s: threads of the block wait at different places, lines %d and %d", name, b.line, line);
  } else if (b.expected != expected) {
    fail("%s %d: some expect %d threads, some %d", name, id, b.expected, expected);
  }
  if (++b.arrived >= target) {
    ++statistics.barriers;
    if (hooks.barrier_done) hooks.barrier_done(waiting_warps(b) | 1u << self->warp);
    release(b);
    block.set_ready(self->warp, 1u << self->lane);
  } else {
    b.waiting[self->warp] |= 1u << self->lane;
  }
  wait(name, line);
}

void barrier_arrive(int id, int expected) {
  Barrier& b = block.barriers[id];
  if (b.arrived == 0) b.expected = expected;
  if (++b.arrived >= expected) release(b);
}

void collective(uint32_t mask, const char* name, Body body, void* arg) {
  Lane* self = context.lane;
  Warp& warp = block.warps[self->warp];
  const uint32_t own = 1u << self->lane;
  if (!(mask & own)) fail("%s: lane %d is not in its own mask %08x", name, self->lane, mask);
  if (mask & ~warp.live)
    fail("%s: mask %08x names block.lanes that ended or never were (alive: %08x)", name, mask, warp.live);
  Meeting* meeting = nullptr;
  for (Meeting& m : warp.meetings) {
    if (m.mask & mask) {
      if (m.mask != mask) fail("%s: masks %08x and %08x of one warp overlap (%s)", name, mask, m.mask, m.name);
      if (m.name != name) fail("block.lanes of one warp meet in different operations: %s and %s", m.name, name);
      meeting = &m;
    }
  }
  if (!meeting) {
    for (Meeting& m : warp.meetings)
      if (!m.mask) meeting = &m;
    if (!meeting) fail("%s: more than four groups of block.lanes wait in one warp", name);
    meeting->mask = mask;
    meeting->arrived = 0;
    meeting->name = name;
  }
  meeting->args[self->lane] = arg;
  meeting->arrived |= own;
  if (meeting->arrived == mask) {
    ++statistics.collectives;
    if (body) body(meeting->args, mask);
    if (hooks.warp_done) hooks.warp_done(self->warp, mask);
    meeting->mask = 0;
    block.spins = 0;
    block.set_ready(self->warp, mask & ~own);
    return;  // the last to come goes on; the others follow in any order
  }
  wait(name, 0);
}

}  // namespace te::emu
