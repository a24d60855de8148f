// Grids: the blocks one after another, in an order that is drawn.
#include <sys/mman.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <utility>

#include "emulator/block.h"

namespace te::emu {
namespace {

constexpr size_t kMaxShared = 256 << 10;
void (*kernel_entry)(void*) = nullptr;
void* kernel_arguments = nullptr;

void run_thread() {
  kernel_entry(kernel_arguments);
  thread_end();
}

void run_block(const dim3& threads) {
  const int count = static_cast<int>(threads.x * threads.y * threads.z);
  block.live = count;
  block.ready_warps = 0;
  block.spins = 0;
  for (int w = 0; w * 32 < count; ++w) {
    const int n = std::min(32, count - w * 32);
    block.warps[w] = Warp{};
    block.warps[w].live = n == 32 ? 0xffffffffu : (1u << n) - 1;
    block.set_ready(w, block.warps[w].live);
  }
  for (Barrier& b : block.barriers) b = Barrier{};
  for (int t = 0; t < count; ++t) {
    const auto u = static_cast<unsigned>(t);
    block.lanes[t] = Lane{prepare_stack(t, run_thread),
                          uint3{u % threads.x, u / threads.x % threads.y, u / (threads.x * threads.y)},
                          static_cast<uint16_t>(t / 32),
                          static_cast<uint8_t>(t % 32),
                          true,
                          nullptr,
                          0};
  }
  if (hooks.begin_block) hooks.begin_block();
  ++statistics.blocks;
  statistics.threads += static_cast<uint64_t>(count);
  next(&block.main_stack_pointer);
  for (int t = 0; t < count; ++t) block.lanes[t].alive = false;
}

}  // namespace

const char* run_grid(dim3 grid, dim3 threads, size_t shared_bytes, void (*kernel)(void*), void* arguments,
                     size_t argument_bytes, const char* name) {
  static char* const shared = static_cast<char*>(
      mmap(nullptr, kMaxShared, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
  executing = true;
  kernel_entry = kernel;
  kernel_arguments = arguments;
  block.failed = false;
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
  for (uint64_t i = 0; i < count && !block.failed; ++i, at = (at + step) % count) {
    block.policy = static_cast<int>(draw() >> 62);
    context.block = uint3{static_cast<unsigned>(at % grid.x), static_cast<unsigned>(at / grid.x % grid.y),
                          static_cast<unsigned>(at / grid.x / grid.y)};
    std::memset(shared, 0xff, shared_bytes);  // NaN in every floating-point format
    run_block(threads);
  }
  if (hooks.end_grid) hooks.end_grid();
  context.lane = nullptr;
  executing = false;
  if (!block.failed) return nullptr;
  block.failure = std::string(name) + ": " + block.failure;
  return block.failure.c_str();
}

void leave_to_main() {
  void* unused;
  te_emu_switch(&unused, block.main_stack_pointer);
  __builtin_unreachable();
}

void fail(const char* format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  block.failed = true;
  char where[128];
  const Lane* l = context.lane;
  std::snprintf(where, sizeof where, "block (%u,%u,%u) thread (%u,%u,%u): ", context.block.x, context.block.y,
                context.block.z, l->thread.x, l->thread.y, l->thread.z);
  block.failure = std::string(where) + text;
  leave_to_main();
  __builtin_unreachable();
}

}  // namespace te::emu
