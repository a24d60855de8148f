// cumsum(x){axis, reverse, exclusive} → y. Floats accumulate in double and are rounded once; integers wrap around.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/reduce/fold.cuh"
#include "cuda/registration.h"
#include "plan/axis.h"

namespace te::cuda::reduce {
namespace {

constexpr int kThreads = 256, kEach = 4, kWidth = 32;

struct Scan {
  DType dtype;
  int64_t outer, length, inner;
  bool reverse, exclusive;
};

// The total as a number: W is double for floats, uint32_t for integers.
template <class W, class T>
__device__ W number(DType t, T code) {
  if constexpr (std::is_same_v<W, double>) return static_cast<double>(value_of(t, code));
  return static_cast<W>(code);
}
template <class W>
__device__ uint32_t code(DType t, W total) {
  if constexpr (std::is_same_v<W, double>) return code_of(t, static_cast<float>(total));
  return static_cast<uint32_t>(total);
}

// A block for each row of contiguous elements, which goes through it in pieces of kThreads · kEach.
template <class W, class T>
__global__ void __launch_bounds__(kThreads) scan_rows(const T* x, T* y, const Scan s) {
  __shared__ W of_warp[kThreads / 32];
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const T* const from = x + static_cast<int64_t>(blockIdx.x) * s.length;
  T* const to = y + static_cast<int64_t>(blockIdx.x) * s.length;
  W before = 0;  // of all pieces so far
  for (int64_t piece = 0; piece < s.length; piece += kThreads * kEach) {
    const int64_t first = piece + static_cast<int64_t>(threadIdx.x) * kEach;
    W element[kEach], own = 0;
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int64_t k = first + e;
      element[e] = k < s.length ? number<W>(s.dtype, from[s.reverse ? s.length - 1 - k : k]) : W(0);
      own += element[e];
    }
    W upto = own;  // over the lanes up to this one
    for (int offset = 1; offset < 32; offset *= 2) {
      const W other = __shfl_up_sync(0xffffffffu, upto, offset);
      if (lane >= offset) upto += other;
    }
    W start = __shfl_up_sync(0xffffffffu, upto, 1);  // a difference of sums would lose what infinities hide
    if (lane == 0) start = 0;
    if (lane == 31) of_warp[warp] = upto;
    __syncthreads();
    W total = before, all = before;
    for (int w = 0; w < kThreads / 32; ++w) {
      if (w == warp) total = all;
      all += of_warp[w];
    }
    total += start;
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int64_t k = first + e;
      const W next = total + element[e];
      if (k < s.length)
        to[s.reverse ? s.length - 1 - k : k] = static_cast<T>(code<W>(s.dtype, s.exclusive ? total : next));
      total = next;
    }
    before = all;
    __syncthreads();
  }
}

// A block for kWidth neighbouring columns: its 8 rows of threads sum a piece of the axis each, and then go over it
// again from the sum of the pieces before.
template <class W, class T>
__global__ void __launch_bounds__(kThreads) scan_columns(const T* x, T* y, const Scan s) {
  constexpr int kHeight = kThreads / kWidth;
  __shared__ W sums[kHeight][kWidth];
  const uint32_t tiles = static_cast<uint32_t>((s.inner + kWidth - 1) / kWidth);
  const int64_t outer = blockIdx.x / tiles;
  const int across = static_cast<int>(threadIdx.x) % kWidth, above = static_cast<int>(threadIdx.x) / kWidth;
  const int64_t column = int64_t{blockIdx.x % tiles} * kWidth + across, base = outer * s.length * s.inner + column;
  const int64_t piece = (s.length + kHeight - 1) / kHeight, begin = piece * above;
  const int64_t end = column >= s.inner ? begin : begin + piece < s.length ? begin + piece : s.length;
  const auto at = [&](int64_t k) { return base + (s.reverse ? s.length - 1 - k : k) * s.inner; };
  W total = 0;
#pragma unroll 4
  for (int64_t k = begin; k < end; ++k) total += number<W>(s.dtype, x[at(k)]);
  sums[above][across] = total;
  __syncthreads();
  total = 0;
  for (int i = 0; i < above; ++i) total += sums[i][across];
#pragma unroll 4
  for (int64_t k = begin; k < end; ++k) {
    const W next = total + number<W>(s.dtype, x[at(k)]);
    y[at(k)] = static_cast<T>(code<W>(s.dtype, s.exclusive ? total : next));
    total = next;
  }
}

class Cumsum : public Kernel {
 public:
  explicit Cumsum(const Scan& scan) : scan_(scan) {}
  std::string path() const override { return scan_.inner == 1 ? "rows" : "columns"; }
  void run(const Call& call) override {
    if (scan_.outer * scan_.length * scan_.inner == 0) return;
    const size_t bytes = dtype_bytes(scan_.dtype);
    if (!is_float_code(scan_.dtype))
      bytes == 4 ? start<uint32_t, uint32_t>(call) : start<uint32_t, uint8_t>(call);
    else if (bytes == 4)
      start<double, uint32_t>(call);
    else if (bytes == 2)
      start<double, uint16_t>(call);
    else
      start<double, uint8_t>(call);
  }

 private:
  template <class W, class T>
  void start(const Call& call) {
    const bool rows = scan_.inner == 1;
    const int64_t blocks = rows ? scan_.outer : scan_.outer * ((scan_.inner + kWidth - 1) / kWidth);
    launch("cumsum", rows ? scan_rows<W, T> : scan_columns<W, T>, {dim3(static_cast<unsigned>(blocks)), dim3(kThreads)},
           call.input<T>(0), call.output<T>(0), scan_);
  }
  Scan scan_;
};

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  if (!node.params.only({"axis", "reverse", "exclusive"}, why)) return nullptr;
  const DType dtype = node.inputs[0].dtype;
  AroundAxis around;
  if (!around_axis(node.inputs[0].shape, node.params.integer("axis"), &around, why)) return nullptr;
  if (dtype == DType::boolean || dtype == DType::float64) return *why = dtype_name(dtype), nullptr;
  return std::make_unique<Cumsum>(Scan{dtype, around.outer, around.length, around.inner, node.params.flag("reverse"),
                                       node.params.flag("exclusive")});
}
TE_CUDA_KERNEL(cumsum, prepare);

}  // namespace
}  // namespace te::cuda::reduce
