// scatter_add(indices, updates){axis, size} → y: zeros, y[.., indices[i], ..] += updates[.., i, ..], the adjoint of
// take. A stable sort lists the updates of each row in order; each row is then summed in that order and in double, and
// written once, so that every run gives the same bits.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <type_traits>
#include <utility>

#include "cuda/index/index.h"
#include "cuda/launch.h"
#include "cuda/move/walk.cuh"
#include "cuda/registration.h"
#include "cuda/report.cuh"
#include "cuda/sort/sorter.h"
#include "cuda/vector.cuh"

namespace te::cuda {
namespace {

constexpr int kThreads = 256;

// An index out of range goes to a row behind the last one, which nobody reads.
__global__ void __launch_bounds__(kThreads)
    make_keys(const int32_t* indices, uint32_t* keys, int64_t n, int64_t size, const Report to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const int32_t index = indices[i];
  const bool good = index >= 0 && index < size;
  if (!good) report(to, i, index);
  keys[i] = good ? static_cast<uint32_t>(index) : static_cast<uint32_t>(size);
}

// begins[row]: how many updates belong to rows before it.
__global__ void __launch_bounds__(kThreads)
    find_rows(const uint32_t* sorted, int32_t* begins, int64_t n, int64_t size) {
  const int64_t row = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (row > size) return;
  int64_t low = 0, high = n;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (sorted[middle] < static_cast<uint32_t>(row))
      low = middle + 1;
    else
      high = middle;
  }
  begins[row] = static_cast<int32_t>(low);
}

template <class T>
using Sum = std::conditional_t<std::is_integral_v<T>, uint32_t, double>;

struct Updates {
  const uint32_t* sorted;  // rows
  const int32_t* list;     // the updates in that order
  const int32_t* begins;
  double* chunks;  // [outer, chunk, inner]: sums of chunks of the list that belong to one row
  int64_t outer, n, chunk, inner;
  Divisor size, width;  // rows, and accesses of a row
};

template <class T, int kWidth>
__device__ inline void add_updates(const T* updates, const int32_t* list, int64_t begin, int64_t end, int64_t inner,
                                   Sum<T> (&sums)[kWidth]) {
#pragma unroll 4
  for (int64_t i = begin; i < end; ++i) {
    const Vector<T, kWidth> x = load_vector<kWidth>(updates + list[i] * inner);
#pragma unroll
    for (int k = 0; k < kWidth; ++k) {
      if constexpr (std::is_integral_v<T>)
        sums[k] += x.at[k];
      else
        sums[k] += static_cast<double>(static_cast<float>(x.at[k]));
    }
  }
}

// Sums of whole chunks, so that a row with most of the updates is not added up by one thread alone.
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) add_chunks(const T* updates, const Updates of, int64_t total) {
  int64_t rest = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (rest >= total) return;
  const int64_t column = of.width.split(&rest) * kWidth, chunks = of.n / of.chunk;
  const int64_t chunk = rest % chunks, outer = rest / chunks, begin = chunk * of.chunk, end = begin + of.chunk;
  if (of.sorted[begin] != of.sorted[end - 1]) return;
  Sum<T> sums[kWidth] = {};
  add_updates<T, kWidth>(updates + outer * of.n * of.inner + column, of.list, begin, end, of.inner, sums);
  Sum<T>* to = reinterpret_cast<Sum<T>*>(of.chunks) + (outer * chunks + chunk) * of.inner + column;
#pragma unroll
  for (int k = 0; k < kWidth; ++k) to[k] = sums[k];
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads) add_rows(const T* updates, T* y, const Updates of, int64_t total) {
  int64_t rest = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (rest >= total) return;
  const bool small = total < int64_t{1} << 31;
  const int64_t column = of.width.split(&rest, small) * kWidth, row = of.size.split(&rest, small), outer = rest;
  const int64_t begin = of.begins[row], end = of.begins[row + 1], chunks = of.n / of.chunk;
  Sum<T> sums[kWidth] = {};
  const T* from = updates + outer * of.n * of.inner + column;
  const int64_t first = (begin + of.chunk - 1) / of.chunk, last = end / of.chunk;
  if (first < last) {
    add_updates<T, kWidth>(from, of.list, begin, first * of.chunk, of.inner, sums);
    const Sum<T>* parts = reinterpret_cast<const Sum<T>*>(of.chunks) + outer * chunks * of.inner + column;
    for (int64_t c = first; c < last; ++c)
#pragma unroll
      for (int k = 0; k < kWidth; ++k) sums[k] += parts[c * of.inner + k];
    add_updates<T, kWidth>(from, of.list, last * of.chunk, end, of.inner, sums);
  } else {
    add_updates<T, kWidth>(from, of.list, begin, end, of.inner, sums);
  }
  Vector<T, kWidth> result;
#pragma unroll
  for (int k = 0; k < kWidth; ++k) {
    if constexpr (std::is_integral_v<T>)
      result.at[k] = static_cast<T>(sums[k]);
    else
      result.at[k] = static_cast<T>(static_cast<float>(sums[k]));
  }
  store_vector(result, y + (outer * of.size.value + row) * of.inner + column);
}

int bits_of(int64_t largest) {
  int bits = 1;
  while (largest >> bits) ++bits;
  return bits;
}
size_t aligned(int64_t bytes) { return (static_cast<size_t>(bytes) + 63) & ~size_t{63}; }
Launch threads(int64_t total) {
  return {dim3(static_cast<unsigned>((total + kThreads - 1) / kThreads)), dim3(kThreads)};
}

class ScatterAdd : public Kernel {
 public:
  ScatterAdd(const AroundAxis& y, int64_t indices, DType dtype)
      : y_(y),
        n_(indices),
        dtype_(dtype),
        sorter_({1, indices, 1}, DType::uint32, false, bits_of(y.length)),
        site_(refuse_index("scatterAdd", y.length)) {
    while (chunk_ * chunk_ < n_) chunk_ *= 2;
  }
  bool checks_values() const override { return true; }

  size_t scratch_bytes() const override {
    return 3 * aligned(n_ * 4) + aligned((y_.length + 1) * 4) + chunk_bytes() + sorter_.scratch_bytes();
  }

  void run(const Call& call) override {
    if (y_.outer * y_.length * y_.inner == 0)
      return check_indices(call.input<int32_t>(0), n_, y_.length, site_.report());
    char* next = static_cast<char*>(call.scratch);
    const auto take = [&](size_t bytes) { return std::exchange(next, next + bytes); };
    uint32_t* keys = reinterpret_cast<uint32_t*>(take(aligned(n_ * 4)));
    uint32_t* sorted = reinterpret_cast<uint32_t*>(take(aligned(n_ * 4)));
    int32_t* list = reinterpret_cast<int32_t*>(take(aligned(n_ * 4)));
    int32_t* begins = reinterpret_cast<int32_t*>(take(aligned((y_.length + 1) * 4)));
    double* chunks = reinterpret_cast<double*>(take(chunk_bytes()));
    if (n_ > 0) {
      launch("scatter_add: keys", make_keys, threads(n_), call.input<int32_t>(0), keys, n_, y_.length, site_.report());
      sorter_.run(keys, sorted, list, next);
    }
    launch("scatter_add: rows", find_rows, threads(y_.length + 1), sorted, begins, n_, y_.length);
    const Updates of{sorted, list, begins, chunks, y_.outer, n_, chunk_, y_.inner, Divisor(y_.length), {}};
    switch (dtype_) {
      case DType::float32:
        return add<float>(call, of);
      case DType::bfloat16:
        return add<__nv_bfloat16>(call, of);
      case DType::float16:
        return add<__half>(call, of);
      case DType::uint8:
        return add<uint8_t>(call, of);
      default:
        return add<uint32_t>(call, of);
    }
  }

 private:
  size_t chunk_bytes() const { return aligned(y_.outer * (n_ / chunk_) * y_.inner * 8); }

  template <class T>
  void add(const Call& call, const Updates& of) const {
    constexpr int kWide = kWidest<T>;
    y_.inner % kWide == 0 ? add_as<T, kWide>(call, of) : add_as<T, 1>(call, of);
  }
  template <class T, int kWidth>
  void add_as(const Call& call, Updates of) const {
    const T* updates = call.input<T>(1);
    of.width = Divisor(y_.inner / kWidth);
    const int64_t chunks = y_.outer * (n_ / chunk_) * of.width.value, rows = y_.outer * y_.length * of.width.value;
    if (chunks > 0) launch("scatter_add: chunks", add_chunks<T, kWidth>, threads(chunks), updates, of, chunks);
    launch("scatter_add", add_rows<T, kWidth>, threads(rows), updates, call.output<T>(0), of, rows);
  }

  AroundAxis y_;
  int64_t n_;
  DType dtype_;
  Sorter sorter_;
  int64_t chunk_ = 64;
  Site site_;
};

std::unique_ptr<Kernel> prepare_scatter_add(const Node& node, std::string* why) {
  if (!node.params.only({"axis", "size"}, why)) return nullptr;
  const Aval &indices = node.inputs[0], &updates = node.inputs[1], &y = node.outputs[0];
  AroundAxis around;
  if (!around_axis(y.shape, node.params.integer("axis"), &around, why)) return nullptr;
  const bool is_integer = y.dtype == DType::int32 || y.dtype == DType::uint32 || y.dtype == DType::uint8;
  if ((y.dtype > DType::float16 && !is_integer) || updates.dtype != y.dtype) {
    *why = std::string("dtype ") + dtype_name(updates.dtype);
    return nullptr;
  }
  if (indices.dtype != DType::int32 || indices.size() > INT32_MAX ||
      updates.size() != around.outer * indices.size() * around.inner) {
    *why = "indices that do not fit the updates";
    return nullptr;
  }
  return std::make_unique<ScatterAdd>(around, indices.size(), y.dtype);
}
TE_CUDA_KERNEL(scatter_add, prepare_scatter_add);

}  // namespace
}  // namespace te::cuda
