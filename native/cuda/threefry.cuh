// Threefry-2x32 with 20 rounds, as cpu/threefry.h has it, for one counter on the device.
#pragma once
#include <cstdint>

namespace te::cuda {

struct ThreefryWords {
  uint32_t first, second;
};

__device__ inline ThreefryWords threefry(uint32_t k0, uint32_t k1, uint64_t counter) {
  const uint32_t keys[3] = {k0, k1, k0 ^ k1 ^ 0x1BD11BDAu};
  constexpr int kTurns[2][4] = {{13, 15, 26, 6}, {17, 29, 16, 24}};
  uint32_t x0 = static_cast<uint32_t>(counter >> 32) + k0, x1 = static_cast<uint32_t>(counter) + k1;
#pragma unroll
  for (int group = 0; group < 5; ++group) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      x0 += x1;
      x1 = __funnelshift_l(x1, x1, kTurns[group % 2][i]) ^ x0;
    }
    x0 += keys[(group + 1) % 3];
    x1 += keys[(group + 2) % 3] + group + 1;
  }
  return {x0, x1};
}

// 32 random bits of a 64-bit counter: the two words xored.
__device__ inline uint32_t threefry_bits(uint32_t k0, uint32_t k1, uint64_t counter) {
  const ThreefryWords words = threefry(k0, k1, counter);
  return words.first ^ words.second;
}

// How many of the 2^23 uniform numbers a rate of dropping keeps: a number is kept when bits >> 9 is below.
inline uint32_t kept_numbers(double rate) {
  return static_cast<uint32_t>(__builtin_ceil(static_cast<double>(static_cast<float>(1 - rate)) * 8388608));
}

}  // namespace te::cuda
