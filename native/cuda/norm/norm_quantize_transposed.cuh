// A norm whose float32 result goes to float8 in both orders: q, amax, [mean,] rstd, qT [columns, rows]. Made by passes;
// both sizes are multiples of 16. See norm.cuh and quantize/float8.cuh.
//
// A block has a strip of 16 or 32 rows. Its groups normalise them row by row, and keep the codes in shared memory too,
// from where columns are written in pieces of 16 rows. With 32 rows two pieces fill a sector of memory.
#pragma once
#include <algorithm>

#include "cuda/norm/norm.cuh"
#include "cuda/quantize/float8.cuh"

namespace te::cuda {

constexpr int kPieceRows = 16, kStripThreads = 512, kStripPacks = 4;

struct Strip {
  int rows = 0;   // 0: no strip fits into shared memory
  int words = 0;  // of four codes, from row to row: a multiple of the 32 banks

  explicit Strip(int64_t columns) : words(static_cast<int>((columns + 127) / 128 * 32)) {
    constexpr size_t kOthers = sizeof(GroupMemory) + 1024;
    const size_t most = context().properties.sharedMemPerBlockOptin;
    if (2 * (bytes_of(32) + kOthers) <= most)
      rows = 32;
    else if (bytes_of(16) + kOthers <= most)
      rows = 16;
  }
  size_t bytes_of(int count) const { return static_cast<size_t>(count) * words * 4; }

  // Where word `word` of a row lies. The lower half of a strip changes the halves of the banks, so that threads that
  // read a piece of either half beside each other do not meet in one.
  __device__ int place_of(int row, int word) const { return row * words + (word ^ (row & kPieceRows)); }
};

// Turns the codes of four columns and 16 rows: column k of them is turned[k].
__device__ inline void turn_piece(const uint32_t* codes, const Strip& strip, int row, int word, uint4 (&turned)[4]) {
  uint32_t of_column[4][4];
#pragma unroll
  for (int part = 0; part < 4; ++part) {
    uint32_t w[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) w[k] = codes[strip.place_of(row + 4 * part + k, word)];
    const uint32_t low[2] = {__byte_perm(w[0], w[1], 0x5140), __byte_perm(w[2], w[3], 0x5140)};
    const uint32_t high[2] = {__byte_perm(w[0], w[1], 0x7362), __byte_perm(w[2], w[3], 0x7362)};
    of_column[0][part] = __byte_perm(low[0], low[1], 0x5410);
    of_column[1][part] = __byte_perm(low[0], low[1], 0x7632);
    of_column[2][part] = __byte_perm(high[0], high[1], 0x5410);
    of_column[3][part] = __byte_perm(high[0], high[1], 0x7632);
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) turned[k] = uint4{of_column[k][0], of_column[k][1], of_column[k][2], of_column[k][3]};
}

template <bool kLayer, class T, DType Q>
__global__ __launch_bounds__(kRowThreads,
                             1) void norm_codes_turned(const T* __restrict__ x, const __grid_constant__ Norm norm,
                                                       const float* __restrict__ scale_at, uint8_t* __restrict__ q,
                                                       uint8_t* __restrict__ turned, float* __restrict__ amax,
                                                       float* __restrict__ mean, float* __restrict__ rstd,
                                                       const __grid_constant__ RowPlan plan,
                                                       const __grid_constant__ Strip strip, Gathering* blocks) {
  __shared__ GroupMemory memory;
  uint32_t* codes = &block_memory<uint32_t>();
  constexpr int W = kPackWidth<T>;
  const float scale = *scale_at;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * strip.rows;
  uint32_t most = 0;
  Group group(plan.group, memory);
  const int at_once = static_cast<int>(blockDim.x) / group.size();
  for (int begin = 0; begin < strip.rows; begin += at_once) {
    const int row = begin + group.index();
    const int64_t number = row < strip.rows && first + row < plan.rows ? first + row : plan.rows;
    norm_of_row<kLayer, T, kStripPacks>(
        x, norm, mean, rstd, plan, group, number, [&](const Place<W>& place, int column, const float(&y)[W]) {
          Pack<uint8_t, W> pack;
#pragma unroll
          for (int k = 0; k < W; ++k) most = larger_magnitude(most, y[k]);
#pragma unroll
          for (int k = 0; k < W; k += 4)
            pack.word[k / 4] = float8_codes<Q>(y[k] * scale, y[k + 1] * scale, y[k + 2] * scale, y[k + 3] * scale);
          *reinterpret_cast<Pack<uint8_t, W>*>(q + place.start + column) = pack;
          *reinterpret_cast<Pack<uint8_t, W>*>(codes + strip.place_of(row, column / 4)) = pack;
        });
  }
  __syncthreads();
  const int pieces = strip.rows / kPieceRows, items = plan.columns / 4 * pieces;
  for (int i = static_cast<int>(threadIdx.x); i < items; i += static_cast<int>(blockDim.x)) {
    const int row = (i & (pieces - 1)) * kPieceRows, word = i >> (pieces - 1);
    if (first + row >= plan.rows) continue;
    uint4 columns[4];
    turn_piece(codes, strip, row, word, columns);
#pragma unroll
    for (int k = 0; k < 4; ++k)
      *reinterpret_cast<uint4*>(turned + (4 * static_cast<int64_t>(word) + k) * plan.rows + first + row) = columns[k];
  }
  gather_maximum(most, blocks, amax);
}

template <bool kLayer, class T, DType Q>
class NormQuantizeTransposed : public Kernel {
 public:
  NormQuantizeTransposed(const NormShape& shape, const Strip& strip)
      : plan_(shape.rows, shape.columns, kPackWidth<T>, kStripPacks), norm_(shape.norm), strip_(strip) {
    plan_.threads = std::clamp(kStripThreads / plan_.group, 1, strip.rows) * plan_.group;
  }

  void run(const Call& call) override {
    Norm norm = norm_;
    norm.gamma.data = call.in[1];
    if (kLayer) norm.beta.data = call.in[2];
    const auto kernel = norm_codes_turned<kLayer, T, Q>;
    const size_t bytes = strip_.bytes_of(strip_.rows);
    const int64_t strips = std::max<int64_t>((plan_.rows + strip_.rows - 1) / strip_.rows, 1);  // amax of nothing is 0
    allow_shared(kernel, bytes);
    launch(kLayer ? "layer_norm_quantize_transposed" : "rms_norm_quantize_transposed", kernel,
           {dim3(static_cast<unsigned>(strips)), dim3(static_cast<unsigned>(plan_.threads)), bytes}, call.input<T>(0),
           norm, call.input<float>(kLayer ? 3 : 2), call.output<uint8_t>(0), call.output<uint8_t>(kLayer ? 4 : 3),
           call.output<float>(1), kLayer ? call.output<float>(2) : nullptr, call.output<float>(kLayer ? 3 : 2), plan_,
           strip_, context().gathering);
  }

 private:
  RowPlan plan_;
  Norm norm_;
  Strip strip_;
};

template <bool kLayer>
std::unique_ptr<Kernel> prepare_norm_quantize_transposed(const Node& node, std::string* why) {
  NormShape shape;
  if (!node.params.only({"epsilon", "zeroCenteredGamma", "dtype"}, why) || !shape.read(node, 0, kLayer, why))
    return nullptr;
  const DType q = node.outputs[0].dtype;
  const Aval& turned = node.outputs[kLayer ? 4 : 3];
  if (!is_float8(q) || turned.dtype != q) return *why = "q and qT must be of one float8 type", nullptr;
  if (turned.shape != Shape{shape.columns, shape.rows}) return *why = "qT must be [columns, rows] of the norm", nullptr;
  if (shape.columns == 0 || shape.columns % 16 || shape.rows % kPieceRows)
    return *why = "multiples of 16 only", nullptr;
  const Strip strip(shape.columns);
  if (strip.rows == 0) return *why = "16 rows do not fit into shared memory", nullptr;
  return with_row_type(shape.x, [&](auto zero) -> std::unique_ptr<Kernel> {
    using T = decltype(zero);
    if (RowPlan(shape.rows, shape.columns, kPackWidth<T>, kStripPacks).packs == 0)
      return *why = "a row is longer than the registers of a block", nullptr;
    if (q == DType::float8_e4m3fn)
      return std::make_unique<NormQuantizeTransposed<kLayer, T, DType::float8_e4m3fn>>(shape, strip);
    return std::make_unique<NormQuantizeTransposed<kLayer, T, DType::float8_e5m2>>(shape, strip);
  });
}

}  // namespace te::cuda
