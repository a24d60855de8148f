// Two kernels: a transpose of bytes, 16 at a time on both sides, for FP8 operands that lie along their rows, and a
// gather of single elements for everything else.
#include "cuda/gemm/arrange.h"
#include "cuda/gemm/walk.cuh"
#include "cuda/launch.h"
#include "cuda/primitives.cuh"
#include "cuda/values.cuh"

namespace te::cuda {
namespace {

// --- bytes: [rows, columns] → [columns, rows]

constexpr int kSide = 128;

struct Transpose {
  const uint8_t* from;
  uint8_t* to;
  int64_t rows, columns, step;  // of `from`
  int64_t rows_to, columns_to;  // multiples of 16: `to` is [columns_to, rows_to]
  int64_t row_tiles, column_tiles;
  Walk batch;
};

struct ByteTile {
  uint4 chunk[kSide][8];  // of row r the chunk c lies at c ^ (r / 16): neither side meets itself in a bank
};

// Chunk `c` of row `r` of `from`, which ends at `columns`.
__device__ uint4 bytes_of(const Transpose& t, const uint8_t* from, int64_t row, int64_t column, bool aligned) {
  uint4 value = {0, 0, 0, 0};
  if (row >= t.rows || column >= t.columns) return value;
  const uint8_t* p = from + row * t.step + column;
  if (aligned && column + 16 <= t.columns) return *reinterpret_cast<const uint4*>(p);
  uint32_t* word = &value.x;
  for (int i = 0; i < 16; ++i)
    if (column + i < t.columns) word[i / 4] |= static_cast<uint32_t>(p[i]) << (i % 4 * 8);
  return value;
}

// Four rows of four bytes → four columns of four bytes.
__device__ void transpose_words(const uint32_t (&row)[4], uint32_t (&column)[4]) {
  const uint32_t low01 = __byte_perm(row[0], row[1], 0x5140), low23 = __byte_perm(row[2], row[3], 0x5140);
  const uint32_t high01 = __byte_perm(row[0], row[1], 0x7362), high23 = __byte_perm(row[2], row[3], 0x7362);
  column[0] = __byte_perm(low01, low23, 0x5410);
  column[1] = __byte_perm(low01, low23, 0x7632);
  column[2] = __byte_perm(high01, high23, 0x5410);
  column[3] = __byte_perm(high01, high23, 0x7632);
}

__global__ void __launch_bounds__(256) transpose_bytes(Transpose t, bool aligned) {
  ByteTile& tile = block_memory<ByteTile>();
  const int64_t tiles = t.row_tiles * t.column_tiles, at = blockIdx.x % tiles, batch = blockIdx.x / tiles;
  const int64_t row0 = at / t.column_tiles * kSide, column0 = at % t.column_tiles * kSide;
  const uint8_t* from = t.from + t.batch(batch);
  uint8_t* to = t.to + batch * t.rows_to * t.columns_to;
  uint4 value[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = threadIdx.x / 8 + i * 32, c = threadIdx.x % 8;
    value[i] = bytes_of(t, from, row0 + r, column0 + c * 16, aligned);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int r = threadIdx.x / 8 + i * 32, c = threadIdx.x % 8;
    tile.chunk[r][c ^ (r / 16)] = value[i];
  }
  __syncthreads();
  // A warp takes 16 columns; each lane four of them, of 16 rows.
  const int c = threadIdx.x / 32, group = threadIdx.x % 8, word = threadIdx.x % 32 / 8;
  uint32_t out[4][4];  // [column][four rows]
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    uint32_t rows[4], columns[4];
#pragma unroll
    for (int j = 0; j < 4; ++j)
      rows[j] = reinterpret_cast<const uint32_t*>(&tile.chunk[group * 16 + i * 4 + j][c ^ group])[word];
    transpose_words(rows, columns);
#pragma unroll
    for (int j = 0; j < 4; ++j) out[j][i] = columns[j];
  }
  const int64_t row = row0 + group * 16, column = column0 + c * 16 + word * 4;
  if (row >= t.rows_to) return;
#pragma unroll
  for (int j = 0; j < 4; ++j)
    if (column + j < t.columns_to)
      *reinterpret_cast<uint4*>(to + (column + j) * t.rows_to + row) =
          make_uint4(out[j][0], out[j][1], out[j][2], out[j][3]);
}

// --- elements

struct Gather {
  int64_t total, outer, inner, outer_to, inner_to;
  Walk walk;  // of [batches, outer, inner]
};

__device__ void copy_element(DType t, const void* from, int64_t i, void* to, int64_t j) {
  switch (dtype_bytes(t)) {
    case 4:
      static_cast<uint32_t*>(to)[j] = static_cast<const uint32_t*>(from)[i];
      break;
    case 2:
      static_cast<uint16_t*>(to)[j] = static_cast<const uint16_t*>(from)[i];
      break;
    default:
      static_cast<uint8_t*>(to)[j] = static_cast<const uint8_t*>(from)[i];
  }
}

__global__ void __launch_bounds__(256)
    gather_elements(const void* from, DType from_dtype, void* to, DType to_dtype, Gather g) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * 256 + threadIdx.x;
  if (i >= g.total) return;
  const int64_t inner = i % g.inner_to, outer = i / g.inner_to % g.outer_to, batch = i / g.inner_to / g.outer_to;
  const bool inside = inner < g.inner && outer < g.outer;
  const int64_t at = inside ? g.walk((batch * g.outer + outer) * g.inner + inner) : 0;
  if (inside && from_dtype == to_dtype)
    copy_element(to_dtype, from, at, to, i);
  else
    store_real(to_dtype, to, i, inside ? load_real(from_dtype, from, at) : 0.0f);
}

}  // namespace

Arrange::Arrange(const DotOperand& x, const Shape& batch, int64_t outer, int64_t inner, DType to, int64_t multiple)
    : x_(x),
      batch_(batch),
      outer_(outer),
      inner_(inner),
      outer_to_(round_up(outer, multiple)),
      inner_to_(round_up(inner, multiple)) {
  result_.dtype = to;
  result_.outer_step = inner_to_;
  result_.inner_step = 1;
  result_.batch_steps.resize(batch.size());
  int64_t step = outer_to_ * inner_to_;
  for (size_t i = batch.size(); i-- > 0; step *= batch[i]) result_.batch_steps[i] = step;
}

size_t Arrange::bytes() const {
  return aligned_bytes(static_cast<size_t>(count(batch_) * outer_to_ * inner_to_) * dtype_bytes(result_.dtype));
}

bool Arrange::transposes() const {
  return !x_.copy && x_.outer_step == 1 && x_.dtype == result_.dtype && dtype_bytes(x_.dtype) == 1 &&
         outer_to_ % 16 == 0 && inner_to_ % 16 == 0;
}

void Arrange::run(const void* from, void* to) const {
  const int64_t batches = count(batch_), total = batches * outer_to_ * inner_to_;
  if (total == 0) return;
  if (transposes()) {
    Transpose t{static_cast<const uint8_t*>(from),
                static_cast<uint8_t*>(to),
                inner_,
                outer_,
                x_.inner_step,
                inner_to_,
                outer_to_,
                (inner_to_ + kSide - 1) / kSide,
                (outer_to_ + kSide - 1) / kSide,
                {}};
    bool aligned = x_.inner_step % 16 == 0;
    for (size_t i = 0; i < batch_.size(); ++i) {
      t.batch.add(batch_[i], x_.batch_steps[i]);
      aligned = aligned && (batch_[i] == 1 || x_.batch_steps[i] % 16 == 0);
    }
    launch("transpose of FP8", transpose_bytes,
           {dim3(static_cast<unsigned>(batches * t.row_tiles * t.column_tiles)), dim3(256), sizeof(ByteTile)}, t,
           aligned);
    return;
  }
  Gather gather{total, outer_, inner_, outer_to_, inner_to_, {}};
  if (x_.copy) {
    std::vector<int64_t> steps(x_.copy_shape.size());
    int64_t step = 1;
    for (size_t d = steps.size(); d-- > 0; step *= x_.copy_shape[d]) steps[d] = step;
    for (int64_t axis : x_.copy_perm)
      gather.walk.add(x_.copy_shape[static_cast<size_t>(axis)], steps[static_cast<size_t>(axis)]);
  } else {
    for (size_t i = 0; i < batch_.size(); ++i) gather.walk.add(batch_[i], x_.batch_steps[i]);
    gather.walk.add(outer_, x_.outer_step);
    gather.walk.add(inner_, x_.inner_step);
  }
  launch("arrange", gather_elements, {dim3(static_cast<unsigned>((total + 255) / 256)), dim3(256)}, from, x_.dtype, to,
         result_.dtype, gather);
}

}  // namespace te::cuda
