// The copy engine finishes a copy at a random time after it was started. A product of a group of warps happens when it
// is issued or when it is waited for, drawn at random: whoever reads the result, or overwrites an operand, too early is
// wrong in one of the two.
#include "emulator/hopper.h"

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

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
  uint64_t columns, rows, row_bytes;
  uint32_t box_columns, box_rows, element, swizzle;
};
static_assert(sizeof(Map) <= sizeof(CUtensorMap));

struct Box {
  Map map;
  char* to;
  uint64_t* barrier;
  int x, y;
  uint64_t ticket;
};
std::vector<Box> boxes;
uint64_t boxes_of_block = 0;

size_t bytes_of(const Map& m) { return static_cast<size_t>(m.box_columns) * m.box_rows * m.element; }

void finish(size_t i) {
  const Box box = boxes[i];
  boxes.erase(boxes.begin() + static_cast<long>(i));
  const Map& m = box.map;
  const size_t width = static_cast<size_t>(m.box_columns) * m.element;
  for (uint32_t r = 0; r < m.box_rows; ++r)
    for (size_t byte = 0; byte < width; byte += 16) {
      char chunk[16] = {};
      for (size_t k = 0; k < 16; k += m.element) {
        const int64_t column = box.x + static_cast<int64_t>((byte + k) / m.element),
                      row = box.y + static_cast<int64_t>(r);
        if (column >= 0 && row >= 0 && column < static_cast<int64_t>(m.columns) && row < static_cast<int64_t>(m.rows))
          std::memcpy(chunk + k,
                      m.base + static_cast<uint64_t>(row) * m.row_bytes + static_cast<uint64_t>(column) * m.element,
                      m.element);
      }
      size_t to = r * width + byte;
      if (m.swizzle == 3) to ^= (to >> 7 & 7) << 4;  // 128 bytes: the chunk's number xor the row's, modulo 8
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

void copy_box(void* to, const CUtensorMap* map, uint64_t* barrier, int x, int y) {
  Map m;
  std::memcpy(&m, map, sizeof m);
  if (reinterpret_cast<uintptr_t>(to) % (m.swizzle == 3 ? 1024 : 128)) fail("copy_box: the box is not aligned");
  if (!is_shared_offset_valid(to, bytes_of(m))) fail("copy_box: the box leaves shared memory");
  boxes.push_back({m, static_cast<char*>(to), barrier, x, y, check_engine_write_begins(to, bytes_of(m))});
  if (draw() >> 62 == 0) engine();
}

uint64_t operand(const void* p) {
  const auto offset = static_cast<uint64_t>(static_cast<const char*>(p) - context.shared);
  return (offset & 0x3ffff) >> 4 | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

namespace {

// One warp's part of a product: rows 16 w … of a, all of b. Pointers to the accumulators of its lanes.
struct Product {
  uint64_t a, b;
  bool more, done;
  int group, rows_of;
  float* d[32];
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

// Element (row, k) of an operand in the 128-byte swizzle. The pattern repeats every eight rows, `stride` bytes apart.
float element(uint64_t descriptor, int row, int k) {
  const uint64_t start = (descriptor & 0x3fff) << 4, stride = (descriptor >> 32 & 0x3fff) << 4;
  if (descriptor >> 62 != 1) fail("a product's operand is not in the 128-byte swizzle");
  uint64_t offset = start + static_cast<uint64_t>(row / 8) * stride + static_cast<uint64_t>(row % 8) * 128 +
                    static_cast<uint64_t>(k) * 2;
  offset ^= (offset >> 7 & 7) << 4;
  __nv_bfloat16 x;
  std::memcpy(&x, context.shared + offset, 2);
  return __bfloat162float(x);
}

// The 128 bytes that hold a row: the swizzle scatters its 32 bytes over them.
void check_line(uint64_t descriptor, int row) {
  const uint64_t start = (descriptor & 0x3fff) << 4, stride = (descriptor >> 32 & 0x3fff) << 4;
  const uint64_t at = start + static_cast<uint64_t>(row / 8) * stride + static_cast<uint64_t>(row % 8) * 128;
  check_read_by_kernel(context.shared + at / 128 * 128, 128);
}

void perform(Product& p) {
  p.done = true;
  for (int r = 0; r < 16; ++r) check_line(p.a, p.rows_of + r);
  for (int r = 0; r < 64; ++r) check_line(p.b, r);
  static float a[16][16], b[64][16];
  for (int r = 0; r < 16; ++r)
    for (int k = 0; k < 16; ++k) a[r][k] = element(p.a, p.rows_of + r, k);
  for (int r = 0; r < 64; ++r)
    for (int k = 0; k < 16; ++k) b[r][k] = element(p.b, r, k);
  for (int lane = 0; lane < 32; ++lane)
    for (int i = 0; i < 32; ++i) {  // as in mma: 8 columns after 8, rows g and g + 8
      const int row = lane / 4 + i / 2 % 2 * 8, column = i / 4 * 8 + lane % 4 * 2 + i % 2;
      float sum = p.more ? p.d[lane][i] : 0;
      for (int k = 0; k < 16; ++k) sum += a[row][k] * b[column][k];
      p.d[lane][i] = sum;
    }
}

struct Issue {
  float* d;
  uint64_t a, b;
  bool more;
};

}  // namespace

void group_begin() { collective(0xffffffffu, "group_begin", nullptr, nullptr); }

void group_mma_64x64x16(float (&d)[32], uint64_t a, uint64_t b, bool more) {
  const int lane = context.lane->lane;
  if (lane < 16) check_line(a, context.lane->warp % 4 * 16 + lane);
  check_line(b, lane);
  check_line(b, lane + 32);
  Issue issue{d, a, b, more};
  collective(
      0xffffffffu, "group_mma_64x64x16",
      [](void* const args[32], uint32_t) {
        const Issue& first = *static_cast<Issue*>(args[0]);
        Group& g = group();
        Product p{first.a, first.b, first.more, false, g.committed, context.lane->warp % 4 * 16, {}};
        for (int i = 0; i < 32; ++i) {
          const Issue& other = *static_cast<Issue*>(args[i]);
          if (other.a != first.a || other.b != first.b || other.more != first.more)
            fail("lanes of one warp give different operands to a product");
          p.d[i] = other.d;
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

}  // namespace te::emu::hopper

// --- the driver's function that describes a tensor to the copy engine

using namespace te::emu;

static CUresult encode_tiled(CUtensorMap* out, CUtensorMapDataType type, cuuint32_t rank, void* address,
                             const cuuint64_t* dims, const cuuint64_t* strides, const cuuint32_t* box,
                             const cuuint32_t* element_strides, CUtensorMapInterleave, CUtensorMapSwizzle swizzle,
                             CUtensorMapL2promotion, CUtensorMapFloatOOBfill) {
  hopper::Map m{};
  m.element = type == CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 ? 2 : type == CU_TENSOR_MAP_DATA_TYPE_UINT8 ? 1 : 4;
  if (rank != 2 || reinterpret_cast<uintptr_t>(address) % 16 || strides[0] % 16 || element_strides[0] != 1 ||
      element_strides[1] != 1 || box[0] > 256 || box[1] > 256 || box[0] * m.element % 16)
    return CUDA_ERROR_INVALID_VALUE;
  if (swizzle == CU_TENSOR_MAP_SWIZZLE_128B && box[0] * m.element > 128) return CUDA_ERROR_INVALID_VALUE;
  m.base = static_cast<const char*>(address);
  m.columns = dims[0], m.rows = dims[1], m.row_bytes = strides[0];
  m.box_columns = box[0], m.box_rows = box[1], m.swizzle = static_cast<uint32_t>(swizzle);
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
