// The instructions of cuda/primitives.cuh on the emulator. Their bodies are in primitives.cc, which the checker does
// not look at.
#pragma once
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "emulator/fiber.h"

namespace te::emu::primitives {

class SharedAddress {
 public:
  SharedAddress(const void* p) : value_(static_cast<char*>(const_cast<void*>(p))) {}
  SharedAddress operator+(uint32_t bytes) const { return value_ + bytes; }
  SharedAddress flipped(uint32_t bits) const {
    return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(value_) ^ bits);
  }
  operator void*() const { return value_; }

 private:
  char* value_;
};
void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void mma_16x8x16_half(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);
void load_matrices(uint32_t (&r)[4], const void* row);
void load_matrices_transposed(uint32_t (&r)[4], const void* row);
void copy_async(void* shared, const void* global, bool valid);
void commit_copies();
void wait_copies(int pending);
template <int Pending>
void wait_copies() {
  wait_copies(Pending);
}
inline float exp2_fast(float x) { return std::exp2(x); }
inline void forget(uint32_t&) {}

}  // namespace te::emu::primitives
