// quantize_transposed(x, scale){dtype} → q, amax as of quantize, qT, and where the node has a fourth output the column
// sums of x. Made by passes for products that read a tensor along both of its axes. qT [columns, rows] says how x is
// seen: as rows × columns, row-major.
#include "cuda/quantize/tiles.cuh"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

// The elements of x.
template <class T>
struct Elements {
  static constexpr int kRowsAtOnce = kPartRows, kPack = 16 / sizeof(T);
  const T* x;

  struct Held {
    uint4 pack[kPartRows][kPartColumns / kPack];
  };

  __device__ void load(const Tiles& t, int64_t row, int64_t column, Held& held) const {
#pragma unroll
    for (int r = 0; r < kPartRows; ++r) {
      const T* from = x + (row + r) * t.columns + column;
#pragma unroll
      for (int p = 0; p < kPartColumns / kPack; ++p) {
        uint4 bits{};
        if (row + r < t.rows) {
          if (t.whole_columns) {
            if (column < t.columns) bits = *reinterpret_cast<const uint4*>(from + p * kPack);
          } else {
            T some[kPack];
#pragma unroll
            for (int k = 0; k < kPack; ++k)
              some[k] = column + p * kPack + k < t.columns ? from[p * kPack + k] : static_cast<T>(0.0f);
            memcpy(&bits, some, sizeof(bits));
          }
        }
        held.pack[r][p] = bits;
      }
    }
  }

  __device__ void row(const Tiles&, const Held& held, int r, int64_t, int64_t, float (&values)[kPartColumns]) const {
#pragma unroll
    for (int p = 0; p < kPartColumns / kPack; ++p) {
      T some[kPack];
      memcpy(static_cast<void*>(some), &held.pack[r][p], sizeof(some));
#pragma unroll
      for (int k = 0; k < kPack; ++k) values[p * kPack + k] = static_cast<float>(some[k]);
    }
  }
};

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
  QuantizeTransposed(int64_t rows, int64_t columns, const Aval* sums)
      : with_sums_(sums), sums_(sums ? *sums : Aval()), tiles_(tiles_of(rows, columns)) {}

  size_t scratch_bytes() const override {
    return with_sums_ && tiles_.across > 0
               ? static_cast<size_t>(tiles_.count / tiles_.across * tiles_.columns) * sizeof(float)
               : 0;
  }

  void run(const Call& call) override {
    const Elements<T> source{call.input<T>(0)};
    if (!with_sums_) return launch_tiles<Q, false>("quantize_transposed", source, tiles_, call.input<float>(1), call);
    launch_tiles<Q, true>("quantize_transposed", source, tiles_, call.input<float>(1), call);
    if (tiles_.columns == 0) return;
    const int64_t groups = (tiles_.columns + kSumColumns - 1) / kSumColumns;
    launch("add column sums", add_tiles, {dim3(static_cast<unsigned>(groups)), dim3(kSumColumns * kSumParts)},
           static_cast<const float*>(call.scratch), call.out[3], sums_.dtype, tiles_.count / tiles_.across,
           tiles_.columns);
  }

 private:
  bool with_sums_;
  Aval sums_;
  Tiles tiles_;
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
