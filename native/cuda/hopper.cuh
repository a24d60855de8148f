// Instructions of compute capability 9.0a: barriers in shared memory, the bulk tensor copy engine, and products of a
// group of four warps. Beside primitives.cuh the only file with inline assembly. Only what is compiled for that
// capability alone may include it: files named hopper_*.cu.
#pragma once
#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

#include "cuda/primitives.cuh"

#ifdef TE_CUDA_EMULATED
#include "emulator/hopper.h"
#endif

namespace te::cuda {

#ifdef TE_CUDA_EMULATED
using namespace emu::hopper;
#else

// A barrier that `count` arrivals and all announced bytes complete. One thread makes it; then all threads of the block
// meet before anyone uses it.
__device__ inline void barrier_init(uint64_t* barrier, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}
__device__ inline void barriers_ready() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ inline void barrier_arrive(uint64_t* barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}
__device__ inline void barrier_arrive_expecting(uint64_t* barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
               : "memory");
}
// Waits until the phase of this parity is over.
__device__ inline void barrier_wait(uint64_t* barrier, int parity) {
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "WAIT:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@done bra DONE;\n"
      "bra WAIT;\n"
      "DONE:\n"
      "}" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
}

// Starts a copy of a box of a two-dimensional tensor to shared memory; x counts along the contiguous dimension. The
// bytes arrive at `barrier`.
__device__ inline void copy_box(void* to, const CUtensorMap* map, uint64_t* barrier, int x, int y) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(
          shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y)
      : "memory");
}

// The same of a four-dimensional tensor.
__device__ inline void copy_box(void* to, const CUtensorMap* map, uint64_t* barrier, int x, int y, int z, int w) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], "
      "[%2];" ::"r"(shared_address(to)),
      "l"(map), "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z), "r"(w)
      : "memory");
}

// Descriptors of operands in the 128-byte swizzle that copy_box writes: bits 0-13 the address, 16-29 the leading and
// 32-45 the stride offset, each in units of 16 bytes, and 1 in bits 62-63 for the swizzle. Chunk c of 16 bytes of the
// line of 128 bytes at address a lies in place c ^ (a / 128 % 8), so that operands begin at a multiple of 1024.
//
// operand: rows of 64 16-bit elements along k, one line each. The pattern repeats every 8 rows, 1024 bytes: the stride;
// the leading offset is not used. 16 elements further along k are 32 bytes: the descriptor + 2.
__device__ inline uint64_t operand(const void* p) {
  return static_cast<uint64_t>((shared_address(p) & 0x3ffff) >> 4) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}
// operand_across: the lines run across k, each holds 64 elements of one k. The stride leads to the next 8 of k, 1024
// bytes; the leading offset to the next 64 elements across, `apart` bytes. 16 further along k are 2048 bytes: the
// descriptor + 128.
__device__ inline uint64_t operand_across(const void* p, int apart) {
  return static_cast<uint64_t>((shared_address(p) & 0x3ffff) >> 4) | static_cast<uint64_t>(apart >> 4) << 16 |
         uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

// Before a group's first product, and after its registers were written.
__device__ inline void group_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void group_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int Pending>
__device__ inline void group_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(Pending) : "memory");
}
// Keeps the compiler from moving accesses of a product's registers over a group_wait.
template <class R, int N>
__device__ inline void hold(R (&registers)[N]) {
#pragma unroll
  for (int i = 0; i < N; ++i) {
    if constexpr (std::is_same_v<R, float>)
      asm volatile("" : "+f"(registers[i])::"memory");
    else
      asm volatile("" : "+r"(registers[i])::"memory");
  }
}

// Products of a group of four warps. Warp w holds rows 16 w to 16 w + 15 of d (64×N), lane l of it
// d[4 j + 2 r + e] = (l / 4 + 8 r, 8 j + 2 (l % 4) + e); and of a in registers (64×16) in a[2 h + r] the pair
// (l / 4 + 8 r, 8 h + 2 (l % 4) + {0, 1}).
#define TE_REGISTERS_32                                                                                              \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%" \
  "30,%31}, "
#define TE_REGISTERS_64                                                                                              \
  "{%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%" \
  "30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%" \
  "58,%59,%60,%61,%62,%63}, "
#define TE_OPERANDS_32                                                                                        \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), \
      "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),  \
      "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), \
      "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
#define TE_OPERANDS_64                                                                                        \
  "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]), "+f"(d[8]), \
      "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]), "+f"(d[16]),  \
      "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]), "+f"(d[24]), \
      "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]), "+f"(d[32]), \
      "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]), "+f"(d[40]), \
      "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]), "+f"(d[48]), \
      "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]), "+f"(d[56]), \
      "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
#define TE_GROUP_MMA(n, count, type, a, b, p)                                                          \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" p                                                  \
               ", 0;\n"                                                                                \
               "wgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type " " TE_REGISTERS_##count \
               "%" a ", %" b ", p, 1, 1, 0, 0;\n}"                                                     \
               : TE_OPERANDS_##count                                                                   \
               : "l"(a_), "l"(b_), "r"(static_cast<int>(more)))
#define TE_GROUP_MMA_REGISTERS(n, count, type, a, b, p)                                                  \
  asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" p                                                    \
               ", 0;\n"                                                                                  \
               "wgmma.mma_async.sync.aligned.m64n" n "k16.f32." type "." type " " TE_REGISTERS_##count a \
               ", %" b ", p, 1, 1, 1;\n}"                                                                \
               : TE_OPERANDS_##count                                                                     \
               : "r"(a_[0]), "r"(a_[1]), "r"(a_[2]), "r"(a_[3]), "l"(b_), "r"(static_cast<int>(more)))

// d = a bᵀ, or += with `more`; a 64×16 and b N×16 in shared memory, both as `operand`.
template <class T, int N>
__device__ inline void group_mma(float (&d)[N / 2], uint64_t a_, uint64_t b_, bool more) {
  static_assert(N == 64 || N == 128);
  if constexpr (std::is_same_v<T, __nv_bfloat16> && N == 64) TE_GROUP_MMA("64", 32, "bf16", "32", "33", "34");
  if constexpr (std::is_same_v<T, __nv_bfloat16> && N == 128) TE_GROUP_MMA("128", 64, "bf16", "64", "65", "66");
  if constexpr (std::is_same_v<T, __half> && N == 64) TE_GROUP_MMA("64", 32, "f16", "32", "33", "34");
  if constexpr (std::is_same_v<T, __half> && N == 128) TE_GROUP_MMA("128", 64, "f16", "64", "65", "66");
}
// d = a b, or += with `more`; a 64×16 in registers, which nobody may write before the product was waited for, and b
// 16×N as `operand_across`.
template <class T, int N>
__device__ inline void group_mma(float (&d)[N / 2], const uint32_t* a_, uint64_t b_, bool more) {
  static_assert(N == 64 || N == 128);
  if constexpr (std::is_same_v<T, __nv_bfloat16> && N == 64)
    TE_GROUP_MMA_REGISTERS("64", 32, "bf16", "{%32,%33,%34,%35}", "36", "37");
  if constexpr (std::is_same_v<T, __nv_bfloat16> && N == 128)
    TE_GROUP_MMA_REGISTERS("128", 64, "bf16", "{%64,%65,%66,%67}", "68", "69");
  if constexpr (std::is_same_v<T, __half> && N == 64)
    TE_GROUP_MMA_REGISTERS("64", 32, "f16", "{%32,%33,%34,%35}", "36", "37");
  if constexpr (std::is_same_v<T, __half> && N == 128)
    TE_GROUP_MMA_REGISTERS("128", 64, "f16", "{%64,%65,%66,%67}", "68", "69");
}
#undef TE_REGISTERS_32
#undef TE_REGISTERS_64
#undef TE_OPERANDS_32
#undef TE_OPERANDS_64
#undef TE_GROUP_MMA
#undef TE_GROUP_MMA_REGISTERS

// Registers of each thread of a group of four warps, from here on: taken from, or given back to, the block's.
template <int Count>
__device__ inline void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(Count));
}
template <int Count>
__device__ inline void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(Count));
}

// Barriers of some of the block's warps: `threads` of them come, to wait or only to arrive. Number 0 is __syncthreads'.
__device__ inline void meeting_wait(int number, int threads) {
  asm volatile("barrier.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
}
__device__ inline void meeting_arrive(int number, int threads) {
  asm volatile("barrier.arrive %0, %1;" ::"r"(number), "r"(threads) : "memory");
}

#endif

}  // namespace te::cuda
