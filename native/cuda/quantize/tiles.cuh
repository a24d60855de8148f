// Rounding to float8 in tiles, which writes q [rows, columns] and qT [columns, rows] from one read of a source: a block
// turns tiles of codes in shared memory, so that both are written in pieces of 16 bytes. Column sums, where they are
// asked for, are those of tiles first, added up in float32 by a second kernel, always in the same order.
//
// A source gives 16 values of a row at a time:
//   Held                                            what it keeps of 4 rows between load and row
//   load(t, row, column, held)                      starts to read rows [row, row + 4), columns [column, column + 16)
//   row(t, held, r, row, column, values)            the values of row `row`, the r-th of those; zeros outside
//   kRowsAtOnce                                     how many rows are unrolled: 4 where `held` is to be in registers
#pragma once
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/primitives.cuh"
#include "cuda/quantize/float8.cuh"

namespace te::cuda {

constexpr int kTileRows = 128, kTileColumns = 64, kTileThreads = 128;
constexpr int kPartRows = 4, kPartColumns = 16;  // of a thread: 4 threads across, 32 down

struct Tiles {
  int64_t rows, columns, across, count;  // across: tiles side by side
  bool whole_rows, whole_columns;        // multiples of 16: of q's pieces, of qT's
};

inline Tiles tiles_of(int64_t rows, int64_t columns) {
  const int64_t across = (columns + kTileColumns - 1) / kTileColumns, down = (rows + kTileRows - 1) / kTileRows;
  return {rows, columns, across, across * down, rows % 16 == 0, columns % 16 == 0};
}
inline unsigned tile_blocks(const Tiles& t) {
  return static_cast<unsigned>(std::clamp<int64_t>(t.count, 1, context().properties.multiProcessorCount * 8));
}

// Codes of a tile, turned: column c has 32 words of four rows each. Its pieces of 16 bytes are exchanged, so that
// neither the writes of a warp (4 columns, 8 words) nor its reads (whole columns) meet in a bank.
struct TileMemory {
  uint32_t word[kTileColumns][kTileRows / 4];
  float sums[kTileThreads / 32][kTileColumns];
};
__device__ inline int place_of(int column, int piece) { return (piece ^ (column / kPartColumns * 2)) * 4; }

// Stores the first of 16 codes that lie inside.
__device__ inline void store_codes(uint8_t* to, const uint4& codes, bool whole, int64_t inside) {
  if (whole) {
    *reinterpret_cast<uint4*>(to) = codes;
    return;
  }
  const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
  for (int k = 0; k < 16; ++k)
    if (k < inside) to[k] = static_cast<uint8_t>(words[k / 4] >> (8 * (k % 4)));
}

// Exchanges sums with the thread `offset` lanes away, which has the same columns of other rows: each keeps one half of
// 2 Kept. Returns the first that this one keeps.
template <int Kept>
__device__ int halve_sums(float (&sums)[kPartColumns], int offset) {
  const bool upper = threadIdx.x & offset;
#pragma unroll
  for (int k = 0; k < Kept; ++k) {
    const float give = upper ? sums[k] : sums[Kept + k], keep = upper ? sums[Kept + k] : sums[k];
    sums[k] = keep + __shfl_xor_sync(0xffffffffu, give, offset);
  }
  return upper ? Kept : 0;
}

// The column sums of a warp's 32 rows: each of the 8 threads of the same 16 columns has two of them in the end.
__device__ inline void sum_columns(float (&sums)[kPartColumns], int across, float* to) {
  const int first = across * kPartColumns + halve_sums<8>(sums, 16) + halve_sums<4>(sums, 8) + halve_sums<2>(sums, 4);
  to[first] = sums[0];
  to[first + 1] = sums[1];
}

template <class Source, DType Q, bool Sums>
__global__ __launch_bounds__(kTileThreads) void quantize_tiles(const __grid_constant__ Source source,
                                                               const float* __restrict__ scale_at,
                                                               uint8_t* __restrict__ q, uint8_t* __restrict__ turned,
                                                               float* __restrict__ tile_sums, Tiles t,
                                                               Gathering* blocks, float* amax) {
  TileMemory& memory = block_memory<TileMemory>();
  const float scale = *scale_at;
  const int across = threadIdx.x % 4, down = threadIdx.x / 4, warp = threadIdx.x / 32;
  uint32_t most = 0;
  for (int64_t tile = blockIdx.x; tile < t.count; tile += gridDim.x) {
    const int64_t tile_row = tile / t.across * kTileRows, tile_column = tile % t.across * kTileColumns;
    const int64_t row = tile_row + down * kPartRows, column = tile_column + across * kPartColumns;
    typename Source::Held held;
    source.load(t, row, column, held);
    uint32_t columns[kPartColumns] = {};  // the codes of four rows of each column, the first in the lowest byte
    float sums[kPartColumns] = {};
#pragma unroll(Source::kRowsAtOnce)
    for (int r = 0; r < kPartRows; ++r) {
      float v[kPartColumns];
      source.row(t, held, r, row + r, column, v);
      uint32_t words[kPartColumns / 4];
#pragma unroll
      for (int w = 0; w < kPartColumns / 4; ++w) {
#pragma unroll
        for (int k = 4 * w; k < 4 * w + 4; ++k) {
          most = larger_magnitude(most, v[k]);
          if constexpr (Sums) sums[k] += v[k];
        }
        words[w] = float8_codes<Q>(v[4 * w] * scale, v[4 * w + 1] * scale, v[4 * w + 2] * scale, v[4 * w + 3] * scale);
#pragma unroll
        for (int k = 0; k < 4; ++k)
          columns[4 * w + k] = __byte_perm(columns[4 * w + k], words[w], 0x4321u + (static_cast<unsigned>(k) << 12));
      }
      if (row + r < t.rows && column < t.columns)
        store_codes(q + (row + r) * t.columns + column, uint4{words[0], words[1], words[2], words[3]}, t.whole_columns,
                    t.columns - column);
    }
#pragma unroll
    for (int k = 0; k < kPartColumns; ++k) {
      const int c = across * kPartColumns + k;
      memory.word[c][place_of(c, down / 4) + down % 4] = columns[k];
    }
    if constexpr (Sums) sum_columns(sums, across, memory.sums[warp]);
    __syncthreads();
    const int piece = threadIdx.x % 8;
    const int64_t first = tile_row + piece * 16;
#pragma unroll
    for (int c = threadIdx.x / 8; c < kTileColumns; c += kTileThreads / 8) {
      if (tile_column + c >= t.columns || first >= t.rows) continue;
      store_codes(turned + (tile_column + c) * t.rows + first,
                  *reinterpret_cast<const uint4*>(&memory.word[c][place_of(c, piece)]), t.whole_rows, t.rows - first);
    }
    if constexpr (Sums) {
      const int64_t c = tile_column + threadIdx.x;
      if (threadIdx.x < kTileColumns && c < t.columns) {
        float sum = 0;
        for (int w = 0; w < kTileThreads / 32; ++w) sum += memory.sums[w][threadIdx.x];
        tile_sums[tile / t.across * t.columns + c] = sum;
      }
    }
    __syncthreads();
  }
  gather_maximum(most, blocks, amax);
}

// Outputs of the call: q, amax, qT.
template <DType Q, bool Sums, class Source>
void launch_tiles(const char* what, const Source& source, const Tiles& t, const float* scale, const Call& call) {
  launch(what, quantize_tiles<Source, Q, Sums>, {dim3(tile_blocks(t)), dim3(kTileThreads), sizeof(TileMemory)}, source,
         scale, call.output<uint8_t>(0), call.output<uint8_t>(2), Sums ? static_cast<float*>(call.scratch) : nullptr, t,
         context().gathering, call.output<float>(1));
}

}  // namespace te::cuda
