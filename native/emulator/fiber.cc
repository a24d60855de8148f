#include "emulator/fiber.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

namespace te::emu {

Context context;
thread_local bool executing = false;
Statistics statistics;
Hooks hooks;

// --- switching between stacks
// -----------------------------------------------------------------------------------------

extern "C" void te_emu_switch(void** save, void* load);
#if defined(__x86_64__)
asm(R"(
.text
.globl te_emu_switch
.hidden te_emu_switch
.type te_emu_switch,@function
te_emu_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size te_emu_switch,.-te_emu_switch
)");
constexpr size_t kFrame = 6;  // registers below the return address
#elif defined(__aarch64__)
asm(R"(
.text
.globl te_emu_switch
.hidden te_emu_switch
te_emu_switch:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
)");
#else
#error "te::emu: no context switch for this processor"
#endif

namespace {

constexpr size_t kStack = 64 << 10;  // of a thread, the guard page below it included
constexpr int kMaxThreads = 1024, kMaxWarps = 32, kBarriers = 16;
constexpr size_t kMaxShared = 256 << 10;
constexpr uint64_t kMaxSpins = 20'000'000;

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

Lane lanes[kMaxThreads];
Warp warps[kMaxWarps];
Barrier barriers[kBarriers];
uint32_t ready_warps = 0;
int live = 0;
uint64_t spins = 0;
char* stacks = nullptr;
void* main_stack_pointer = nullptr;
void (*kernel_entry)(void*) = nullptr;
void* kernel_arguments = nullptr;
std::string failure;
bool failed = false;
uint64_t random_state = 0x9e3779b97f4a7c15;
int policy = 0;

uint64_t initial_seed() {
  const char* text = std::getenv("TE_EMU_SEED");
  return text ? std::strtoull(text, nullptr, 10) : 1;
}
[[maybe_unused]] const bool seeded = (set_seed(initial_seed()), true);

// A set bit of a mask that is not 0.
inline int pick(uint32_t mask) {
  if (mask == 0xffffffffu) return static_cast<int>(draw() >> 59);
  const int turn = static_cast<int>(draw() >> 59);
  const uint32_t turned = mask >> turn | (turn ? mask << (32 - turn) : 0);
  return (__builtin_ctz(turned) + turn) & 31;
}

void set_ready(int warp, uint32_t mask) {
  warps[warp].ready |= mask;
  ready_warps |= 1u << warp;
}

std::string describe_waiting() {
  std::string text;
  int shown = 0;
  for (int t = 0; t < kMaxThreads && shown < 4; ++t) {
    const Lane& l = lanes[t];
    if (!l.alive || !l.waits_for) continue;
    char line[160];
    std::snprintf(line, sizeof line, "\n  thread %d (warp %d lane %d) waits in %s, line %d", t, l.warp, l.lane,
                  l.waits_for, l.line);
    text += line;
    ++shown;
  }
  return text;
}

void leave_to_main() {
  void* unused;
  te_emu_switch(&unused, main_stack_pointer);
  __builtin_unreachable();
}

// Goes on with another thread, or with the block's end. The caller is queued or waits somewhere.
void next(void** save) {
  if (!ready_warps) {
    if (live > 0 && !failed) {
      failed = true;
      failure = "deadlock: " + std::to_string(live) + " threads wait for others that never come" + describe_waiting();
    }
    void* unused;
    te_emu_switch(save ? save : &unused, main_stack_pointer);
    return;
  }
  int w;
  switch (
      spins
          ? 0
          : policy) {  // some orders come up seldom in a uniform draw: one warp far ahead of the others, or far behind
    case 1:
      w = __builtin_ctz(ready_warps);
      break;
    case 2:
      w = 31 - __builtin_clz(ready_warps);
      break;
    default:
      w = pick(ready_warps);
  }
  Warp& warp = warps[w];
  const int l = pick(warp.ready);
  warp.ready &= ~(1u << l);
  if (!warp.ready) ready_warps &= ~(1u << w);
  Lane* to = &lanes[w * 32 + l];
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

uint32_t waiting_warps(const Barrier& b) {
  uint32_t all = 0;
  for (int w = 0; w < kMaxWarps; ++w) all |= b.waiting[w] ? 1u << w : 0;
  return all;
}

void release(Barrier& b) {
  for (int w = 0; w < kMaxWarps; ++w)
    if (b.waiting[w]) set_ready(w, std::exchange(b.waiting[w], 0));
  b.arrived = b.expected = 0;
  b.line = 0;
}

// A thread that ends counts as arrived wherever the others wait for it.
void thread_end() {
  Lane* self = context.lane;
  Warp& warp = warps[self->warp];
  self->alive = false;
  warp.live &= ~(1u << self->lane);
  --live;
  for (const Meeting& m : warp.meetings)
    if (m.mask >> self->lane & 1)
      fail("a thread ended while its warp waits for it in %s with mask %08x", m.name, m.mask);
  Barrier& b = barriers[0];
  if (b.arrived > 0 && b.arrived >= live) {
    ++statistics.barriers;
    if (hooks.barrier_done) hooks.barrier_done(waiting_warps(b));
    release(b);
  }
  next(nullptr);
  __builtin_unreachable();
}

extern "C" void te_emu_start() {
  kernel_entry(kernel_arguments);
  thread_end();
}

void prepare_stack(int t) {
  char* top = stacks + (static_cast<size_t>(t) + 1) * kStack;
  auto** sp = reinterpret_cast<void**>(top);
#if defined(__x86_64__)
  *--sp = nullptr;  // so that the stack is aligned as after a call
  *--sp = reinterpret_cast<void*>(&te_emu_start);
  for (size_t i = 0; i < kFrame; ++i) *--sp = nullptr;
#else
  sp -= 20;
  std::memset(sp, 0, 160);
  sp[11] = reinterpret_cast<void*>(&te_emu_start);
#endif
  lanes[t].stack_pointer = sp;
}

void allocate_stacks() {
  if (stacks) return;
  void* p =
      mmap(nullptr, kMaxThreads * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) std::abort();
  stacks = static_cast<char*>(p);
  for (int t = 0; t < kMaxThreads; ++t) mprotect(stacks + static_cast<size_t>(t) * kStack, 4096, PROT_NONE);
}

void run_block(const dim3& threads) {
  const int count = static_cast<int>(threads.x * threads.y * threads.z);
  live = count;
  ready_warps = 0;
  spins = 0;
  for (int w = 0; w * 32 < count; ++w) {
    const int n = std::min(32, count - w * 32);
    warps[w] = Warp{};
    warps[w].live = n == 32 ? 0xffffffffu : (1u << n) - 1;
    set_ready(w, warps[w].live);
  }
  for (Barrier& b : barriers) b = Barrier{};
  for (int t = 0; t < count; ++t) {
    const auto u = static_cast<unsigned>(t);
    lanes[t] = Lane{nullptr,
                    uint3{u % threads.x, u / threads.x % threads.y, u / (threads.x * threads.y)},
                    static_cast<uint16_t>(t / 32),
                    static_cast<uint8_t>(t % 32),
                    true,
                    nullptr,
                    0};
    prepare_stack(t);
  }
  if (hooks.begin_block) hooks.begin_block();
  ++statistics.blocks;
  statistics.threads += static_cast<uint64_t>(count);
  next(&main_stack_pointer);
  for (int t = 0; t < count; ++t) lanes[t].alive = false;
}

}  // namespace

void set_seed(uint64_t seed) { random_state = (seed + 1) * 0x9e3779b97f4a7c15; }

uint64_t draw() {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state * 0x2545f4914f6cdd1d;
}

Range stack_range() { return {stacks, stacks ? stacks + kMaxThreads * kStack : nullptr}; }
Range lane_range() { return {reinterpret_cast<char*>(lanes), reinterpret_cast<char*>(lanes + kMaxThreads)}; }

uint32_t live_lanes() { return warps[context.lane->warp].live; }

void fail(const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  failed = true;
  char where[128];
  const Lane* l = context.lane;
  std::snprintf(where, sizeof where, "block (%u,%u,%u) thread (%u,%u,%u): ", context.block.x, context.block.y,
                context.block.z, l->thread.x, l->thread.y, l->thread.z);
  failure = std::string(where) + text;
  leave_to_main();
  __builtin_unreachable();
}

void barrier(int id, int expected, const char* name, int line) {
  Lane* self = context.lane;
  Barrier& b = barriers[id];
  const bool all = expected == 0;
  const int target = all ? live : expected;
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
    set_ready(self->warp, 1u << self->lane);
  } else {
    b.waiting[self->warp] |= 1u << self->lane;
  }
  wait(name, line);
}

void barrier_arrive(int id, int expected) {
  Barrier& b = barriers[id];
  if (b.arrived == 0) b.expected = expected;
  if (++b.arrived >= expected) release(b);
}

void collective(uint32_t mask, const char* name, Body body, void* arg) {
  Lane* self = context.lane;
  Warp& warp = warps[self->warp];
  const uint32_t own = 1u << self->lane;
  if (!(mask & own)) fail("%s: lane %d is not in its own mask %08x", name, self->lane, mask);
  if (mask & ~warp.live)
    fail("%s: mask %08x names lanes that ended or never were (alive: %08x)", name, mask, warp.live);
  Meeting* meeting = nullptr;
  for (Meeting& m : warp.meetings) {
    if (m.mask & mask) {
      if (m.mask != mask) fail("%s: masks %08x and %08x of one warp overlap (%s)", name, mask, m.mask, m.name);
      if (m.name != name) fail("lanes of one warp meet in different operations: %s and %s", m.name, name);
      meeting = &m;
    }
  }
  if (!meeting) {
    for (Meeting& m : warp.meetings)
      if (!m.mask) meeting = &m;
    if (!meeting) fail("%s: more than four groups of lanes wait in one warp", name);
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
    spins = 0;
    set_ready(self->warp, mask & ~own);
    return;  // the last to come goes on; the others follow in any order
  }
  wait(name, 0);
}

void spin(const char* what) {
  if (++spins > kMaxSpins) fail("endless wait: %s", what);
  Lane* self = context.lane;
  set_ready(self->warp, 1u << self->lane);
  wait(what, 0);
}

void preempt() {
  if (draw() >> 62) return;
  Lane* self = context.lane;
  set_ready(self->warp, 1u << self->lane);
  wait("preempt", 0);
}

void progress() { spins = 0; }

const char* run_grid(dim3 grid, dim3 threads, size_t shared_bytes, void (*kernel)(void*), void* arguments,
                     size_t argument_bytes, const char* name) {
  allocate_stacks();
  static char* const shared = static_cast<char*>(
      mmap(nullptr, kMaxShared, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  executing = true;
  kernel_entry = kernel;
  kernel_arguments = arguments;
  failed = false;
  context.grid = grid;
  context.threads = threads;
  context.shared = shared;
  context.shared_bytes = shared_bytes;
  context.arguments = static_cast<char*>(arguments);
  context.argument_bytes = argument_bytes;
  ++statistics.launches;
  // Blocks in an order that covers all: index → (a index + b) mod count with a coprime to count.
  const uint64_t count = static_cast<uint64_t>(grid.x) * grid.y * grid.z;
  uint64_t step = count > 2 ? draw() % count | 1 : 1, at = draw() % std::max<uint64_t>(count, 1);
  const auto gcd = [](uint64_t a, uint64_t b) {
    while (b) std::swap(a %= b, b);
    return a;
  };
  while (gcd(step, count) != 1) ++step;
  for (uint64_t i = 0; i < count && !failed; ++i, at = (at + step) % count) {
    policy = static_cast<int>(draw() >> 62);
    context.block = uint3{static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                          static_cast<unsigned>(at / grid.x / grid.y)};
    std::memset(shared, 0xff, shared_bytes);  // NaN in every floating-point format
    run_block(threads);
  }
  if (hooks.end_grid) hooks.end_grid();
  context.lane = nullptr;
  executing = false;
  if (!failed) return nullptr;
  failure = std::string(name) + ": " + failure;
  return failure.c_str();
}

}  // namespace te::emu
