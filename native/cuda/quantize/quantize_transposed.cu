// quantize_transposed(x, scale){dtype} → q, amax as of quantize, qT, and where the node has a fourth output the column
// sums of x. Made by passes for products that read a tensor along both of its axes. qT [columns, rows] says how x is
// seen: as rows × columns, row-major.
//
// One read of x: a block turns tiles of codes in shared memory, so that q and qT are both written in pieces of 16
// bytes. Column sums are those of a tile first, added up in float32 by a second kernel, always in the same order.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/primitives.cuh"
#include "cuda/quantize/float8.cuh"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

constexpr int kTileRows = 128, kTileColumns = 64, kThreads = 128;
constexpr int kRows = 4, kColumns = 16;  // of a thread: 4 threads across, 32 down

struct Tiles {
  int64_t rows, columns, across, count;  // across: tiles side by side
  bool whole_rows, whole_columns;        // multiples of 16: of q's pieces, of qT's
};

// Codes of a tile, turned: column c has 32 words of four rows each. Its pieces of 16 bytes are exchanged, so that
// neither the writes of a warp (4 columns, 8 words) nor its reads (whole columns) meet in a bank.
struct TileMemory {
  uint32_t word[kTileColumns][kTileRows / 4];
  float sums[kThreads / 32][kTileColumns];
};
__device__ int place_of(int column, int piece) { return (piece ^ (column / kColumns * 2)) * 4; }

// Rows [row, row + 4) and columns [column, column + 16) of x, with zeros outside.
template <class T>
__device__ void load_part(const T* x, const Tiles& t, int64_t row, int64_t column, T (&part)[kRows][kColumns]) {
  constexpr int kPack = 16 / sizeof(T);
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const T* from = x + (row + r) * t.columns + column;
#pragma unroll
    for (int c = 0; c < kColumns; c += kPack) {
      uint4 bits{};
      if (row + r < t.rows) {
        if (t.whole_columns) {
          if (column < t.columns) bits = *reinterpret_cast<const uint4*>(from + c);
        } else {
          T some[kPack]{};
#pragma unroll
          for (int k = 0; k < kPack; ++k)
            if (column + c + k < t.columns) some[k] = from[c + k];
          memcpy(&bits, some, sizeof(bits));
        }
      }
      memcpy(static_cast<void*>(&part[r][c]), &bits, sizeof(bits));
    }
  }
}

// Stores the first of 16 codes that lie inside.
__device__ void store_codes(uint8_t* to, const uint4& codes, bool whole, int64_t inside) {
  if (whole) {
    *reinterpret_cast<uint4*>(to) = codes;
    return;
  }
  const uint32_t words[4] = {codes.x, codes.y, codes.z, codes.w};
#pragma unroll
  for (int k = 0; k < 16; ++k)
    if (k < inside) to[k] = static_cast<uint8_t>(words[k / 4] >> (8 * (k % 4)));
}

// Four columns of four rows: word r of `rows` becomes byte r of each.
__device__ void turn(const uint32_t (&rows)[4], uint32_t (&columns)[4]) {
  const uint32_t a = __byte_perm(rows[0], rows[1], 0x5140), b = __byte_perm(rows[0], rows[1], 0x7362);
  const uint32_t c = __byte_perm(rows[2], rows[3], 0x5140), d = __byte_perm(rows[2], rows[3], 0x7362);
  columns[0] = __byte_perm(a, c, 0x5410), columns[1] = __byte_perm(a, c, 0x7632);
  columns[2] = __byte_perm(b, d, 0x5410), columns[3] = __byte_perm(b, d, 0x7632);
}

// Exchanges sums with the thread `offset` lanes away, which has the same columns of other rows: each keeps one half of
// 2 Kept. Returns the first that this one keeps.
template <int Kept>
__device__ int halve_sums(float (&sums)[kColumns], int offset) {
  const bool upper = threadIdx.x & offset;
#pragma unroll
  for (int k = 0; k < Kept; ++k) {
    const float give = upper ? sums[k] : sums[Kept + k], keep = upper ? sums[Kept + k] : sums[k];
    sums[k] = keep + __shfl_xor_sync(0xffffffffu, give, offset);
  }
  return upper ? Kept : 0;
}

// The column sums of a warp's 32 rows: each of the 8 threads of the same 16 columns has two of them in the end.
__device__ void sum_columns(float (&sums)[kColumns], int across, float* to) {
  const int first = across * kColumns + halve_sums<8>(sums, 16) + halve_sums<4>(sums, 8) + halve_sums<2>(sums, 4);
  to[first] = sums[0];
  to[first + 1] = sums[1];
}

template <class T, DType Q, bool Sums>
__global__ __launch_bounds__(kThreads) void quantize_tiles(const T* __restrict__ x, const float* __restrict__ scale_at,
                                                           uint8_t* __restrict__ q, uint8_t* __restrict__ turned,
                                                           float* __restrict__ tile_sums, Tiles t, Gathering* blocks,
                                                           float* amax) {
  TileMemory& memory = block_memory<TileMemory>();
  const float scale = *scale_at;
  const int across = threadIdx.x % 4, down = threadIdx.x / 4, warp = threadIdx.x / 32;
  uint32_t most = 0;
  for (int64_t tile = blockIdx.x; tile < t.count; tile += gridDim.x) {
    const int64_t tile_row = tile / t.across * kTileRows, tile_column = tile % t.across * kTileColumns;
    const int64_t row = tile_row + down * kRows, column = tile_column + across * kColumns;
    T part[kRows][kColumns];
    load_part(x, t, row, column, part);
    uint32_t codes[kRows][kColumns / 4];
    float sums[kColumns] = {};
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
#pragma unroll
      for (int w = 0; w < kColumns / 4; ++w) {
        float v[4];
#pragma unroll
        for (int k = 0; k < 4; ++k) {
          v[k] = static_cast<float>(part[r][4 * w + k]);
          most = larger_magnitude(most, v[k]);
          if constexpr (Sums) sums[4 * w + k] += v[k];
        }
        codes[r][w] = float8_codes<Q>(v[0] * scale, v[1] * scale, v[2] * scale, v[3] * scale);
      }
      if (row + r < t.rows && column < t.columns)
        store_codes(q + (row + r) * t.columns + column, uint4{codes[r][0], codes[r][1], codes[r][2], codes[r][3]},
                    t.whole_columns, t.columns - column);
    }
#pragma unroll
    for (int w = 0; w < kColumns / 4; ++w) {
      const uint32_t rows[4] = {codes[0][w], codes[1][w], codes[2][w], codes[3][w]};
      uint32_t columns[4];
      turn(rows, columns);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const int c = across * kColumns + 4 * w + k;
        memory.word[c][place_of(c, down / 4) + down % 4] = columns[k];
      }
    }
    if constexpr (Sums) sum_columns(sums, across, memory.sums[warp]);
    __syncthreads();
    const int piece = threadIdx.x % 8;
    const int64_t first = tile_row + piece * 16;
#pragma unroll
    for (int c = threadIdx.x / 8; c < kTileColumns; c += kThreads / 8) {
      if (tile_column + c >= t.columns || first >= t.rows) continue;
      store_codes(turned + (tile_column + c) * t.rows + first,
                  *reinterpret_cast<const uint4*>(&memory.word[c][place_of(c, piece)]), t.whole_rows, t.rows - first);
    }
    if constexpr (Sums) {
      const int64_t c = tile_column + threadIdx.x;
      if (threadIdx.x < kTileColumns && c < t.columns) {
        float sum = 0;
        for (int w = 0; w < kThreads / 32; ++w) sum += memory.sums[w][threadIdx.x];
        tile_sums[tile / t.across * t.columns + c] = sum;
      }
    }
    __syncthreads();
  }
  gather_maximum(most, blocks, amax);
}

constexpr int kSumColumns = 32, kSumParts = 8;

// sums[c] = Σ over tiles, in eight parts that are added in order.
__global__ __launch_bounds__(kSumColumns* kSumParts) void add_tiles(const float* __restrict__ tile_sums, void* sums,
                                                                    DType type, int64_t tiles, int64_t columns) {
  __shared__ float parts[kSumParts][kSumColumns];
  const int within = threadIdx.x % kSumColumns, part = threadIdx.x / kSumColumns;
  const int64_t c = static_cast<int64_t>(blockIdx.x) * kSumColumns + within;
  float sum = 0;
  if (c < columns)
    for (int64_t k = part; k < tiles; k += kSumParts) sum += tile_sums[k * columns + c];
  parts[part][within] = sum;
  __syncthreads();
  if (part > 0 || c >= columns) return;
  for (int k = 1; k < kSumParts; ++k) sum += parts[k][within];
  store_real(type, sums, c, sum);
}

template <class T, DType Q>
class QuantizeTransposed : public Kernel {
 public:
  QuantizeTransposed(int64_t rows, int64_t columns, const Aval* sums) : with_sums_(sums), sums_(sums ? *sums : Aval()) {
    const int64_t across = (columns + kTileColumns - 1) / kTileColumns, down = (rows + kTileRows - 1) / kTileRows;
    tiles_ = {rows, columns, across, across * down, rows % 16 == 0, columns % 16 == 0};
    const int64_t most = context().properties.multiProcessorCount * 8;
    blocks_ = static_cast<unsigned>(std::clamp<int64_t>(tiles_.count, 1, most));
  }

  size_t scratch_bytes() const override {
    return with_sums_ && tiles_.across > 0
               ? static_cast<size_t>(tiles_.count / tiles_.across * tiles_.columns) * sizeof(float)
               : 0;
  }

  void run(const Call& call) override {
    const auto kernel = with_sums_ ? quantize_tiles<T, Q, true> : quantize_tiles<T, Q, false>;
    launch("quantize_transposed", kernel, {dim3(blocks_), dim3(kThreads), sizeof(TileMemory)}, call.input<T>(0),
           call.input<float>(1), call.output<uint8_t>(0), call.output<uint8_t>(2), static_cast<float*>(call.scratch),
           tiles_, context().gathering, call.output<float>(1));
    if (!with_sums_ || tiles_.columns == 0) return;
    const int64_t groups = (tiles_.columns + kSumColumns - 1) / kSumColumns;
    launch("add column sums", add_tiles, {dim3(static_cast<unsigned>(groups)), dim3(kSumColumns * kSumParts)},
           static_cast<const float*>(call.scratch), call.out[3], sums_.dtype, tiles_.count / tiles_.across,
           tiles_.columns);
  }

 private:
  bool with_sums_;
  Aval sums_;
  Tiles tiles_;
  unsigned blocks_;
};

template <class T>
std::unique_ptr<Kernel> make(DType q, int64_t rows, int64_t columns, const Aval* sums) {
  if (q == DType::float8_e4m3fn)
    return std::make_unique<QuantizeTransposed<T, DType::float8_e4m3fn>>(rows, columns, sums);
  return std::make_unique<QuantizeTransposed<T, DType::float8_e5m2>>(rows, columns, sums);
}

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  if (!node.params.only({"dtype"}, why)) return nullptr;
  const Aval &x = node.inputs[0], &turned = node.outputs[2];
  const DType q = node.outputs[0].dtype;
  if (!is_float8(q) || turned.dtype != q) return *why = "q and qT must be of one float8 type", nullptr;
  if (turned.shape.size() != 2 || turned.size() != x.size()) return *why = "qT must be [columns, rows] of x", nullptr;
  const Aval* sums = node.outputs.size() > 3 ? &node.outputs[3] : nullptr;
  if (sums && (sums->size() != turned.shape[0] || sums->dtype > DType::float16))
    return *why = "there is a float sum for each column", nullptr;
  const int64_t rows = turned.shape[1], columns = turned.shape[0];
  switch (x.dtype) {
    case DType::float32:
      return make<float>(q, rows, columns, sums);
    case DType::bfloat16:
      return make<__nv_bfloat16>(q, rows, columns, sums);
    case DType::float16:
      return make<__half>(q, rows, columns, sums);
    default:
      return *why = std::string("x of dtype ") + dtype_name(x.dtype), nullptr;
  }
}
TE_CUDA_KERNEL(quantize_transposed, prepare);

}  // namespace
}  // namespace te::cuda
