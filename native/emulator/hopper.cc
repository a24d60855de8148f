// The copy engine finishes a copy at a random time after it was started. A product of a group of warps happens when it
// is issued or when it is waited for, drawn at random: whoever reads the result, or overwrites an operand, too early is
// wrong in one of the two.
#include "emulator/hopper.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "emulator/check.h"
#include "emulator/fiber.h"

namespace te::emu::hopper {
namespace {

struct Barrier {  // the eight bytes
  uint16_t missing, count;
  int32_t phase : 1, bytes : 31;
};
static_assert(sizeof(Barrier) == 8);

Barrier& at(uint64_t* b) {
  if (reinterpret_cast<uintptr_t>(b) % 8) fail("a barrier is not aligned to 8 bytes");
  return *reinterpret_cast<Barrier*>(b);
}
void settle(Barrier& b) {
  if (b.missing || b.bytes) return;
  b.missing = b.count;
  b.phase = ~b.phase;
  progress();
}

struct Map {  // in a CUtensorMap
  const char* base;
  uint64_t dims[4], strides[4];  // of elements; in bytes
  uint32_t box[4], element, swizzle;
};
static_assert(sizeof(Map) <= sizeof(CUtensorMap));

struct Box {
  Map map;
  char* to;
  uint64_t* barrier;
  int at[4];
  uint64_t ticket;
};
std::vector<Box> boxes;
uint64_t boxes_of_block = 0;

size_t bytes_of(const Map& m) {
  size_t bytes = m.element;
  for (uint32_t n : m.box) bytes *= n;
  return bytes;
}

// The bytes of 16 / element elements at `at`; zeros outside of the tensor.
void fetch(const Map& m, const int64_t (&at)[4], char* chunk) {
  std::memset(chunk, 0, 16);
  uint64_t offset = 0;
  for (int axis = 1; axis < 4; ++axis) {
    if (at[axis] < 0 || at[axis] >= static_cast<int64_t>(m.dims[axis])) return;
    offset += static_cast<uint64_t>(at[axis]) * m.strides[axis];
  }
  for (uint32_t k = 0; k < 16 / m.element; ++k) {
    const int64_t x = at[0] + k;
    if (x < 0 || x >= static_cast<int64_t>(m.dims[0])) continue;
    const char* from = m.base + offset + static_cast<uint64_t>(x) * m.element;
    if (k == 0 || x == 0)
      check_read_by_kernel(from,
                           std::min<uint64_t>(16 / m.element - k, m.dims[0] - static_cast<uint64_t>(x)) * m.element);
    std::memcpy(chunk + k * m.element, from, m.element);
  }
}

void finish(size_t i) {
  const Box box = boxes[i];
  boxes.erase(boxes.begin() + static_cast<long>(i));
  const Map& m = box.map;
  const size_t width = static_cast<size_t>(m.box[0]) * m.element;
  size_t line = 0;
  for (uint32_t w = 0; w < m.box[3]; ++w)
    for (uint32_t z = 0; z < m.box[2]; ++z)
      for (uint32_t y = 0; y < m.box[1]; ++y, ++line)
        for (size_t byte = 0; byte < width; byte += 16) {
          char chunk[16];
          fetch(m, {box.at[0] + static_cast<int64_t>(byte / m.element), box.at[1] + y, box.at[2] + z, box.at[3] + w},
                chunk);
          size_t to = line * width + byte;
          if (m.swizzle == 3) to ^= (to >> 7 & 7) << 4;  // 128 bytes: the chunk's number xor the line's, modulo 8
          std::memcpy(box.to + to, chunk, 16);
        }
  check_engine_write_ends(box.to, bytes_of(m), box.barrier, box.ticket);
  Barrier& b = at(box.barrier);
  b.bytes -= static_cast<int32_t>(bytes_of(m));
  settle(b);
}

void engine() {
  if (!boxes.empty()) finish(draw() % boxes.size());
}

}  // namespace

void barrier_init(uint64_t* barrier, int count) {
  check_async_write_begins(barrier, 8);
  check_async_write_ends(barrier, 8);
  Barrier& b = at(barrier);
  b = Barrier{static_cast<uint16_t>(count), static_cast<uint16_t>(count), 0, 0};
  if (boxes_of_block != statistics.blocks) boxes.clear();
  boxes_of_block = statistics.blocks;
}

void barrier_arrive(uint64_t* barrier) {
  check_read_by_kernel(barrier, 8);
  if (hooks.released) hooks.released(barrier);
  Barrier& b = at(barrier);
  if (b.missing == 0) fail("a barrier has more arrivals than it was made for");
  --b.missing;
  settle(b);
  preempt();
}

void barrier_arrive_expecting(uint64_t* barrier, int bytes) {
  check_read_by_kernel(barrier, 8);
  if (hooks.released) hooks.released(barrier);
  Barrier& b = at(barrier);
  if (b.missing == 0) fail("a barrier has more arrivals than it was made for");
  b.bytes += bytes;
  --b.missing;
  settle(b);
}

void barrier_wait(uint64_t* barrier, int parity) {
  check_read_by_kernel(barrier, 8);
  const Barrier& b = at(barrier);
  while ((b.phase & 1) == (parity & 1)) {  // that phase still runs
    if (draw() >> 62 == 0) engine();
    spin("barrier_wait");
  }
  if (hooks.acquired) hooks.acquired(barrier);
}

void copy_box(void* to, const CUtensorMap* map, uint64_t* barrier, int x, int y, int z, int w) {
  Map m;
  std::memcpy(&m, map, sizeof m);
  if (reinterpret_cast<uintptr_t>(to) % (m.swizzle == 3 ? 1024 : 128)) fail("copy_box: the box is not aligned");
  if (!is_shared_offset_valid(to, bytes_of(m))) fail("copy_box: the box leaves shared memory");
  boxes.push_back({m, static_cast<char*>(to), barrier, {x, y, z, w}, check_engine_write_begins(to, bytes_of(m))});
  if (draw() >> 62 == 0) engine();
}
void copy_box(void* to, const CUtensorMap* map, uint64_t* barrier, int x, int y) {
  copy_box(to, map, barrier, x, y, 0, 0);
}

uint64_t operand(const void* p) { return operand_across(p, 16); }
uint64_t operand_across(const void* p, int apart) {
  const auto offset = static_cast<uint64_t>(static_cast<const char*>(p) - context.shared);
  return (offset & 0x3ffff) >> 4 | static_cast<uint64_t>(apart >> 4) << 16 | uint64_t{1024 >> 4} << 32 |
         uint64_t{1} << 62;
}

namespace {

// One warp's part of a product: rows 16 w … of a, all of b. Pointers to the registers of its lanes.
struct Product {
  Issue issue;
  bool done;
  int group, rows_of;
  float* d[32];
  const uint32_t* a[32];
};
struct Group {  // of one warp
  uint64_t block = 0;
  int committed = 0;
  std::vector<Product> pending;
};
Group& group() {
  static Group all[32];
  Group& g = all[context.lane->warp];
  if (g.block != statistics.blocks) g = Group{statistics.blocks, 0, {}};
  return g;
}

float value(const void* p, bool half) {
  if (half) {
    __half x;
    std::memcpy(&x, p, 2);
    return __half2float(x);
  }
  __nv_bfloat16 x;
  std::memcpy(&x, p, 2);
  return __bfloat162float(x);
}

// Where element (row, k) of an operand lies before the swizzle: see cuda/hopper.cuh.
uint64_t place(uint64_t descriptor, bool across, int row, int k) {
  const auto unsign = [](int x) { return static_cast<uint64_t>(x); };
  const uint64_t start = (descriptor & 0x3fff) << 4, leading = (descriptor >> 16 & 0x3fff) << 4,
                 stride = (descriptor >> 32 & 0x3fff) << 4;
  if (descriptor >> 62 != 1) fail("a product's operand is not in the 128-byte swizzle");
  if (across)
    return start + unsign(row / 64) * leading + unsign(row % 64) * 2 + unsign(k / 8) * stride + unsign(k % 8) * 128;
  return start + unsign(row / 8) * stride + unsign(row % 8) * 128 + unsign(k) * 2;
}
float element(uint64_t descriptor, bool across, int row, int k, bool half) {
  uint64_t offset = place(descriptor, across, row, k);
  offset ^= (offset >> 7 & 7) << 4;
  return value(context.shared + offset, half);
}

// The lines of 128 bytes that hold an operand: the swizzle scatters 32 bytes over one.
void check_lines(uint64_t descriptor, bool across, int first, int rows) {
  const auto line = [&](int row, int k) {
    const uint64_t at = place(descriptor, across, row, k) / 128 * 128;
    if (at + 128 > context.shared_bytes) fail("a product's operand leaves shared memory");
    check_read_by_kernel(context.shared + at, 128);
  };
  for (int row = first; row < first + rows; row += across ? 64 : 1)
    for (int k = 0; k < (across ? 16 : 1); ++k) line(row, k);
}
void check_operands(const Issue& x, int rows_of) {
  if (!x.registers) check_lines(x.a, false, rows_of, 16);
  check_lines(x.b, x.registers, 0, x.n);
}

void perform(Product& p) {
  p.done = true;
  const Issue& x = p.issue;
  check_operands(x, p.rows_of);
  static float a[16][16], b[16][256];
  for (int r = 0; r < 16; ++r)
    for (int k = 0; k < 16; ++k) {
      const int lane = r % 8 * 4 + k % 8 / 2;
      a[r][k] = x.registers ? value(reinterpret_cast<const uint16_t*>(p.a[lane] + k / 8 * 2 + r / 8) + k % 2, x.half)
                            : element(x.a, false, p.rows_of + r, k, x.half);
    }
  for (int k = 0; k < 16; ++k)
    for (int c = 0; c < x.n; ++c) b[k][c] = element(x.b, x.registers, c, k, x.half);
  for (int r = 0; r < 16; ++r) {
    float sum[256];
    const auto at = [&](int c) -> float& { return p.d[r % 8 * 4 + c % 8 / 2][c / 8 * 4 + r / 8 * 2 + c % 2]; };
    for (int c = 0; c < x.n; ++c) sum[c] = x.more ? at(c) : 0;
    for (int k = 0; k < 16; ++k)
      for (int c = 0; c < x.n; ++c) sum[c] += a[r][k] * b[k][c];
    for (int c = 0; c < x.n; ++c) at(c) = sum[c];
  }
}

}  // namespace

void group_begin() { collective(0xffffffffu, "group_begin", nullptr, nullptr); }

void group_mma(Issue issue) {
  collective(
      0xffffffffu, "group_mma",
      [](void* const args[32], uint32_t) {
        const Issue& first = *static_cast<Issue*>(args[0]);
        Group& g = group();
        Product p{first, false, g.committed, context.lane->warp % 4 * 16, {}, {}};
        check_operands(first, p.rows_of);
        for (int i = 0; i < 32; ++i) {
          const Issue& other = *static_cast<Issue*>(args[i]);
          if (other.a != first.a || other.b != first.b || other.more != first.more)
            fail("lanes of one warp give different operands to a product");
          p.d[i] = other.d;
          p.a[i] = other.registers;
        }
        g.pending.push_back(p);
        bool all_before = true;  // products are done in the order in which they were issued
        for (const Product& q : g.pending) all_before = all_before && (q.done || &q == &g.pending.back());
        if (all_before && draw() >> 63) perform(g.pending.back());
      },
      &issue);
}

void group_commit() {
  collective(
      0xffffffffu, "group_commit", [](void* const*, uint32_t) { ++group().committed; }, nullptr);
}

void group_wait(int pending) {
  collective(
      0xffffffffu, "group_wait",
      [](void* const args[32], uint32_t) {
        Group& g = group();
        std::vector<Product> kept;
        for (Product& p : g.pending) {
          if (p.group >= g.committed - *static_cast<int*>(args[0]))
            kept.push_back(p);
          else if (!p.done)
            perform(p);
        }
        g.pending = kept;
      },
      &pending);
}

void meeting_wait(int number, int threads) { barrier(number, threads, "meeting_wait", 0); }
void meeting_arrive(int number, int threads) { emu::barrier_arrive(number, threads); }

}  // namespace te::emu::hopper

// --- the driver's function that describes a tensor to the copy engine

using namespace te::emu;

static CUresult encode_tiled(CUtensorMap* out, CUtensorMapDataType type, cuuint32_t rank, void* address,
                             const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                             const cuuint32_t* element_strides, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                             CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  hopper::Map m{};
  m.element = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 || type == CU_TENSOR_MAP_DATA_TYPE_FLOAT16 ? 2
              : type == CU_TENSOR_MAP_DATA_TYPE_UINT8                                             ? 1
                                                                                                  : 4;
  if (rank < 2 || rank > 4 || reinterpret_cast<uintptr_t>(address) % 16 || box[0] * m.element % 16)
    return CUDA_ERROR_INVALID_VALUE;
  for (cuuint32_t axis = 0; axis < 4; ++axis) {
    const bool there = axis < rank;
    m.dims[axis] = there ? dims[axis] : 1;
    m.box[axis] = there ? box[axis] : 1;
    m.strides[axis] = there && axis ? strides[axis - 1] : 0;
    if (m.dims[axis] == 0 || m.dims[axis] > uint64_t{1} << 32 || m.box[axis] == 0 || m.box[axis] > 256 ||
        m.strides[axis] % 16 || m.strides[axis] >= uint64_t{1} << 40 || (there && element_strides[axis] != 1))
      return CUDA_ERROR_INVALID_VALUE;
  }
  if (swizzle == CU_TENSOR_MAP_SWIZZLE_128B && box[0] * m.element > 128) return CUDA_ERROR_INVALID_VALUE;
  m.base = static_cast<const char*>(address);
  m.swizzle = static_cast<uint32_t>(swizzle);
  std::memset(out, 0, sizeof *out);
  std::memcpy(out, &m, sizeof m);
  return CUDA_SUCCESS;
}

extern "C" cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned,
                                                        unsigned long long, cudaDriverEntryPointQueryResult* result) {
  const bool known = !std::strcmp(symbol, "cuTensorMapEncodeTiled");
  *function = known ? reinterpret_cast<void*>(&encode_tiled) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return cudaSuccess;
}
