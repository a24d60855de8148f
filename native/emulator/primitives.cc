// After the tables of fragments in the PTX manual. For mma.m16n8k16 with g = lane / 4 and t = 2 (lane % 4):
//
//   a: registers 0 … 3 hold rows g, g + 8, g, g + 8 and columns t, t + 1 of the left half (0, 1) and the right (2, 3)
//   b: registers 0, 1 hold rows t, t + 1 and t + 8, t + 9 of column g
//   d: elements 0 … 3 are (g, t), (g, t + 1), (g + 8, t), (g + 8, t + 1)
#include "emulator/primitives.h"

#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "emulator/check.h"

namespace te::emu::primitives {
namespace {

float bits_to_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
struct Bfloat16 {
  static float low(uint32_t pair) { return bits_to_float(pair << 16); }
  static float high(uint32_t pair) { return bits_to_float(pair & 0xffff0000u); }
};
struct Float16 {
  static float low(uint32_t pair) { return __half2float(__half(__half_raw{static_cast<uint16_t>(pair)})); }
  static float high(uint32_t pair) { return low(pair >> 16); }
};

struct Mma {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

template <class Pair>
void multiply(void* const args[32], uint32_t) {
  float a[16][16], b[16][8], d[16][8];
  for (int i = 0; i < 32; ++i) {
    const Mma& m = *static_cast<Mma*>(args[i]);
    const int g = i / 4, t = i % 4 * 2;
    for (int half = 0; half < 2; ++half) {
      const int k = t + half * 8;
      a[g][k] = Pair::low(m.a[half * 2]), a[g][k + 1] = Pair::high(m.a[half * 2]);
      a[g + 8][k] = Pair::low(m.a[half * 2 + 1]), a[g + 8][k + 1] = Pair::high(m.a[half * 2 + 1]);
      b[k][g] = Pair::low(m.b[half]), b[k + 1][g] = Pair::high(m.b[half]);
    }
    d[g][t] = m.d[0], d[g][t + 1] = m.d[1], d[g + 8][t] = m.d[2], d[g + 8][t + 1] = m.d[3];
  }
  for (int r = 0; r < 16; ++r)
    for (int k = 0; k < 16; ++k)
      for (int c = 0; c < 8; ++c) d[r][c] += a[r][k] * b[k][c];
  for (int i = 0; i < 32; ++i) {
    const Mma& m = *static_cast<Mma*>(args[i]);
    const int g = i / 4, t = i % 4 * 2;
    m.d[0] = d[g][t], m.d[1] = d[g][t + 1], m.d[2] = d[g + 8][t], m.d[3] = d[g + 8][t + 1];
  }
}

struct LoadMatrices {
  uint32_t* r;
  const void* row;
};

template <bool Transposed>
void load(void* const args[32], uint32_t) {
  uint16_t m[4][8][8];
  for (int k = 0; k < 4; ++k) {  // eight rows of 16 bytes at a time: each its own four banks, or they take turns
    int users[8] = {}, turns = 1;
    for (int i = 0; i < 8; ++i)
      turns = std::max(turns,
                       ++users[reinterpret_cast<uintptr_t>(static_cast<LoadMatrices*>(args[k * 8 + i])->row) / 16 % 8]);
    statistics.shared_turns += static_cast<uint64_t>(turns);
    ++statistics.shared_accesses;
  }
  for (int i = 0; i < 32; ++i) std::memcpy(m[i / 8][i % 8], static_cast<LoadMatrices*>(args[i])->row, 16);
  for (int i = 0; i < 32; ++i) {
    const int g = i / 4, t = i % 4 * 2;
    for (int k = 0; k < 4; ++k) {
      const uint32_t first = Transposed ? m[k][t][g] : m[k][g][t];
      const uint32_t second = Transposed ? m[k][t + 1][g] : m[k][g][t + 1];
      static_cast<LoadMatrices*>(args[i])->r[k] = first | second << 16;
    }
  }
}

void meet_to_load(uint32_t (&r)[4], const void* row, const char* name, Body body) {
  if (reinterpret_cast<uintptr_t>(row) % 16) fail("%s: a row is not aligned to 16 bytes", name);
  check_read_by_kernel(row, 16);
  LoadMatrices l{r, row};
  collective(0xffffffffu, name, body, &l);
}

struct Copy {
  void* to;
  const void* from;
  bool valid;
  int group;
};
struct Copies {  // of one thread
  uint64_t block = 0;
  int group = 0;
  std::vector<Copy> pending;
};

Copies& copies() {
  static Copies all[1024];
  Copies& c = all[context.lane->warp * 32 + context.lane->lane];
  if (c.block != statistics.blocks) {
    c.block = statistics.blocks;
    c.group = 0;
    c.pending.clear();
  }
  return c;
}

void perform(const Copy& copy) {
  if (copy.valid)
    std::memcpy(copy.to, copy.from, 16);
  else
    std::memset(copy.to, 0, 16);
}

}  // namespace

void mma_16x8x16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Mma m{d, a, b};
  collective(0xffffffffu, "mma_16x8x16", multiply<Bfloat16>, &m);
}
void mma_16x8x16_half(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  Mma m{d, a, b};
  collective(0xffffffffu, "mma_16x8x16_half", multiply<Float16>, &m);
}

void load_matrices(uint32_t (&r)[4], const void* row) { meet_to_load(r, row, "load_matrices", load<false>); }
void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  meet_to_load(r, row, "load_matrices_transposed", load<true>);
}

// A copy happens when the thread waits for it, or at once: who does not wait finds what was there before, and who still
// reads what was there before finds it gone.
void copy_async(void* to, const void* from, bool valid) {
  if (reinterpret_cast<uintptr_t>(to) % 16 || (valid && reinterpret_cast<uintptr_t>(from) % 16))
    fail("copy_async: an address is not aligned to 16 bytes");
  Copies& c = copies();
  if (valid) check_read_by_kernel(from, 16);
  check_async_write_begins(to, 16);
  c.pending.push_back({to, from, valid, c.group});
  if (draw() >> 63) perform(c.pending.back());
}

void commit_copies() { ++copies().group; }

void wait_copies(int pending) {
  Copies& c = copies();
  size_t kept = 0;
  for (const Copy& copy : c.pending) {
    if (copy.group >= c.group - pending) {
      c.pending[kept++] = copy;
      continue;
    }
    check_async_write_ends(copy.to, 16);
    perform(copy);
  }
  c.pending.resize(kept);
}

}  // namespace te::emu::primitives
