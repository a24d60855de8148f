// Instructions that C++ has no words for. This is the only file with inline assembly; each instruction is one function,
// and the emulator has its own of the same name.
#pragma once
#include <cuda_bf16.h>

#include <cstdint>

#ifdef TE_CUDA_EMULATED
#include "emulator/primitives.h"
#endif

namespace te::cuda {

// Dynamic shared memory of the block, as one object.
template <class T>
__device__ inline T& block_memory() {
#ifdef TE_CUDA_EMULATED
  return *reinterpret_cast<T*>(emu::context.shared);
#else
  extern __shared__ __align__(1024) unsigned char te_block_memory[];
  return *reinterpret_cast<T*>(te_block_memory);
#endif
}

#ifdef TE_CUDA_EMULATED
using namespace emu::primitives;
#else

__device__ inline uint32_t shared_address(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

// An address in shared memory, in one register.
class SharedAddress {
 public:
  __device__ SharedAddress(const void* p) : value_(shared_address(p)) {}
  __device__ SharedAddress operator+(uint32_t bytes) const { return SharedAddress(value_ + bytes); }
  __device__ SharedAddress flipped(uint32_t bits) const { return SharedAddress(value_ ^ bits); }
  __device__ uint32_t value() const { return value_; }

 private:
  __device__ explicit SharedAddress(uint32_t value) : value_(value) {}
  uint32_t value_;
};

// d += a b with a 16×16, b 16×8, bfloat16; accumulates in float32.
__device__ inline void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// The same for float16.
__device__ inline void mma_16x8x16_half(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Four 8×8 matrices of 16-bit elements; lane i gives the address of row i % 8 of matrix i / 8.
__device__ inline void load_matrices(uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row.value())
               : "memory");
}
__device__ inline void load_matrices_transposed(uint32_t (&r)[4], SharedAddress row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(row.value())
               : "memory");
}

// Starts a copy of 16 bytes from global to shared memory; zeros where not `valid`.
__device__ inline void copy_async(SharedAddress shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared.value()), "l"(global), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `Pending` of the thread's groups are under way.
template <int Pending>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(Pending) : "memory");
}

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Makes the compiler forget what it computed from x, so that it keeps x in a register and not all of that.
__device__ inline void forget(uint32_t& x) { asm volatile("" : "+r"(x)); }

#endif

}  // namespace te::cuda
