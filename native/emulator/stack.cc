// The context switch in assembly: it keeps what a called function must keep.
#include "emulator/stack.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

namespace te::emu {

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
char* stacks = nullptr;

void allocate_stacks() {
  if (stacks) return;
  void* p =
      mmap(nullptr, kMaxThreads * kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) std::abort();
  stacks = static_cast<char*>(p);
  for (int t = 0; t < kMaxThreads; ++t) mprotect(stacks + static_cast<size_t>(t) * kStack, 4096, PROT_NONE);
}

}  // namespace

void* prepare_stack(int index, void (*start)()) {
  allocate_stacks();
  char* top = stacks + (static_cast<size_t>(index) + 1) * kStack;
  auto** sp = reinterpret_cast<void**>(top);
#if defined(__x86_64__)
  *--sp = nullptr;  // so that the stack is aligned as after a call
  *--sp = reinterpret_cast<void*>(start);
  for (size_t i = 0; i < kFrame; ++i) *--sp = nullptr;
#else
  sp -= 20;
  std::memset(sp, 0, 160);
  sp[11] = reinterpret_cast<void*>(start);
#endif
  return sp;
}

Range stack_range() { return {stacks, stacks ? stacks + kMaxThreads * kStack : nullptr}; }

}  // namespace te::emu
