// transpose(x){perm} → y: y's axis i is x's axis perm[i], for every dtype. Where the last axis stays, rows are copied.
// Otherwise tiles of the two axes that change places pass through shared memory, 16 bytes at a time on both sides.
#include <algorithm>

#include "cuda/launch.h"
#include "cuda/move/permute.h"
#include "cuda/move/walk.cuh"
#include "cuda/primitives.cuh"
#include "cuda/registration.h"

namespace te::cuda {
namespace {

constexpr int kThreads = 256;

// in[q · down_in + p] → out[p · across_out + q], p < across, q < down, for each index of the outer axes.
struct Transposition {
  int64_t across, down, down_in, across_out;
  Divisor across_tiles, down_tiles;
  bool wide_in, wide_out;  // 16-byte accesses
  Walk outer;
};

// A tile has a row in shared memory for each p: 32 words, each of the elements of kStack successive q, and one more so
// that neighbouring rows start in neighbouring banks. An element wider than a word takes a word of its width.
template <class T>
struct Tile {
  static constexpr int kStack = sizeof(T) < 4 ? 4 / sizeof(T) : 1;
  static constexpr int kVector = 16 / sizeof(T);
  static constexpr int kAcross = sizeof(T) == 1 ? 128 : sizeof(T) == 8 ? 32 : 64, kDown = 32 * kStack;
  static constexpr int kPitch = 33 * kStack;  // in elements
};

// The words of kStack rows of 16 bytes: word j holds the j-th elements of all rows, the first row lowest.
__device__ inline void stack_rows(const uint4 (&rows)[1], uint32_t (&words)[4]) {
  words[0] = rows[0].x, words[1] = rows[0].y, words[2] = rows[0].z, words[3] = rows[0].w;
}
__device__ inline void stack_rows(const uint4 (&rows)[2], uint32_t (&words)[8]) {
  const uint32_t a[4] = {rows[0].x, rows[0].y, rows[0].z, rows[0].w};
  const uint32_t b[4] = {rows[1].x, rows[1].y, rows[1].z, rows[1].w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    words[2 * i] = __byte_perm(a[i], b[i], 0x5410);
    words[2 * i + 1] = __byte_perm(a[i], b[i], 0x7632);
  }
}
__device__ inline void stack_rows(const uint4 (&rows)[4], uint32_t (&words)[16]) {
  const uint32_t r[4][4] = {{rows[0].x, rows[0].y, rows[0].z, rows[0].w},
                            {rows[1].x, rows[1].y, rows[1].z, rows[1].w},
                            {rows[2].x, rows[2].y, rows[2].z, rows[2].w},
                            {rows[3].x, rows[3].y, rows[3].z, rows[3].w}};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t low01 = __byte_perm(r[0][i], r[1][i], 0x5140), high01 = __byte_perm(r[0][i], r[1][i], 0x7362);
    const uint32_t low23 = __byte_perm(r[2][i], r[3][i], 0x5140), high23 = __byte_perm(r[2][i], r[3][i], 0x7362);
    words[4 * i] = __byte_perm(low01, low23, 0x5410);
    words[4 * i + 1] = __byte_perm(low01, low23, 0x7632);
    words[4 * i + 2] = __byte_perm(high01, high23, 0x5410);
    words[4 * i + 3] = __byte_perm(high01, high23, 0x7632);
  }
}

// Lanes of a warp take kVector groups of rows and 32 / kVector vectors of them: they store to 32 different banks.
template <class T>
__device__ inline void load_wide(const T* in, int64_t row, int rows, int columns, T* tile) {
  using Of = Tile<T>;
  constexpr int kAside = 32 / Of::kVector, kGroups = 32, kColumns = Of::kAcross / Of::kVector;
#pragma unroll
  for (int i = threadIdx.x; i < kColumns * kGroups; i += kThreads) {
    const int lane = i % 32, block = i / 32;
    const int group = block % (kGroups / Of::kVector) * Of::kVector + lane % Of::kVector;
    const int column = (block / (kGroups / Of::kVector) * kAside + lane / Of::kVector) * Of::kVector;
    if (column >= columns) continue;
    uint4 held[Of::kStack];
#pragma unroll
    for (int r = 0; r < Of::kStack; ++r) {
      const int q = group * Of::kStack + r;
      held[r] = q < rows ? *reinterpret_cast<const uint4*>(in + q * row + column) : uint4{0, 0, 0, 0};
    }
    uint32_t words[Of::kVector];
    stack_rows(held, words);
    uint32_t* to = reinterpret_cast<uint32_t*>(tile) + group;
#pragma unroll
    for (int j = 0; j < Of::kVector; ++j) to[(column + j) * 33] = words[j];
  }
}

template <class T>
__device__ inline void store_wide(const T* tile, T* out, int64_t row, int rows, int columns) {
  using Of = Tile<T>;
#pragma unroll
  for (int i = threadIdx.x; i < Of::kAcross * 8; i += kThreads) {
    const int p = i / 8, q = i % 8 * Of::kVector;
    if (p >= columns || q >= rows) continue;
    const uint32_t* from = reinterpret_cast<const uint32_t*>(tile) + p * 33 + i % 8 * 4;
    *reinterpret_cast<uint4*>(out + p * row + q) = uint4{from[0], from[1], from[2], from[3]};
  }
}

template <class T>
__global__ void __launch_bounds__(kThreads) transpose_tiles(const T* in, T* out, const Transposition t) {
  using Of = Tile<T>;
  T* tile = &block_memory<T>();
  uint32_t place = blockIdx.x;
  const int64_t p0 = static_cast<int64_t>(t.across_tiles.split(&place)) * Of::kAcross;
  const int64_t q0 = static_cast<int64_t>(t.down_tiles.split(&place)) * Of::kDown;
  int64_t from = q0 * t.down_in + p0, to = p0 * t.across_out + q0;
  t.outer.add(place, &from, &to);
  const int columns = static_cast<int>(min(static_cast<int64_t>(Of::kAcross), t.across - p0));
  const int rows = static_cast<int>(min(static_cast<int64_t>(Of::kDown), t.down - q0));
  in += from;
  out += to;

  bool loaded = false, stored = false;
  if constexpr (sizeof(T) <= 4) {
    if (t.wide_in) load_wide(in, t.down_in, rows, columns, tile), loaded = true;
  }
  if (!loaded) {
    for (int i = threadIdx.x; i < Of::kAcross * Of::kDown; i += kThreads) {
      const int p = i % Of::kAcross, q = i / Of::kAcross;
      if (p < columns && q < rows) tile[p * Of::kPitch + q] = in[q * t.down_in + p];
    }
  }
  __syncthreads();
  if constexpr (sizeof(T) <= 4) {
    if (t.wide_out) store_wide(tile, out, t.across_out, rows, columns), stored = true;
  }
  if (!stored) {
    for (int i = threadIdx.x; i < Of::kAcross * Of::kDown; i += kThreads) {
      const int q = i % Of::kDown, p = i / Of::kDown;
      if (p < columns && q < rows) out[p * t.across_out + q] = tile[p * Of::kPitch + q];
    }
  }
}

template <class T>
void transpose_axes(const PermutedAxes& plan, const void* from, void* to) {
  using Of = Tile<T>;
  const auto multiple = [](int64_t n) { return n % Of::kVector == 0; };
  Transposition t{plan.across.size, plan.down.size, plan.down.step, plan.across_out, {}, {}, true, true,
                  Walk(plan.outer)};
  t.wide_in = multiple(t.across) && multiple(t.down_in);
  t.wide_out = multiple(t.down) && multiple(t.across_out);
  int64_t outer = 1;
  for (const MovedAxis& axis : plan.outer) {
    outer *= axis.size;
    t.wide_in = t.wide_in && multiple(axis.in);
    t.wide_out = t.wide_out && multiple(axis.out);
  }
  t.across_tiles = Divisor((t.across + Of::kAcross - 1) / Of::kAcross);
  t.down_tiles = Divisor((t.down + Of::kDown - 1) / Of::kDown);
  const int64_t tiles = outer * t.across_tiles.value * t.down_tiles.value;
  launch("transpose", transpose_tiles<T>,
         {dim3(static_cast<unsigned>(tiles)), dim3(kThreads), sizeof(T) * Of::kAcross * Of::kPitch},
         static_cast<const T*>(from), static_cast<T*>(to), t);
}

// Of two axes that change places, a short one leaves most of a tile empty.
constexpr int64_t kShort = 8;

class Transpose : public Kernel {
 public:
  explicit Transpose(Permutation permutation) : permutation_(std::move(permutation)) {}
  void run(const Call& call) override { permutation_.run(call.in[0], call.out[0]); }
  std::string path() const override { return permutation_.tiled() ? "tiles" : "rows"; }

 private:
  Permutation permutation_;
};

std::unique_ptr<Kernel> prepare_transpose(const Node& node, std::string* why) {
  const Aval& x = node.inputs[0];
  std::vector<int64_t> perm;
  if (!read_transpose(node, &perm, why)) return nullptr;
  return std::make_unique<Transpose>(Permutation(x.shape, perm, dtype_bytes(x.dtype)));
}
TE_CUDA_KERNEL(transpose, prepare_transpose);

}  // namespace

Permutation::Permutation(const Shape& shape, const std::vector<int64_t>& perm, size_t element_bytes)
    : plan_(shape, perm, element_bytes),
      tiled_(plan_.count > 0 && plan_.tiled() && std::min(plan_.across.size, plan_.down.size) >= kShort) {
  if (tiled_) return;
  Shape target;
  std::vector<int64_t> in;
  const std::vector<int64_t> strides = strides_of(shape);
  for (int64_t axis : perm) {
    target.push_back(shape[static_cast<size_t>(axis)]);
    in.push_back(strides[static_cast<size_t>(axis)]);
  }
  copy_.emplace(StridedMove{target, in, strides_of(target)}, element_bytes);
}

void Permutation::run(const void* from, void* to) const {
  if (!tiled_) return copy_->run(from, to);
  switch (plan_.bytes) {
    case 1:
      return transpose_axes<uint8_t>(plan_, from, to);
    case 2:
      return transpose_axes<uint16_t>(plan_, from, to);
    case 4:
      return transpose_axes<uint32_t>(plan_, from, to);
    default:
      return transpose_axes<uint2>(plan_, from, to);
  }
}

void permute(const void* from, void* to, const Shape& shape, const std::vector<int64_t>& perm, size_t element_bytes) {
  Permutation(shape, perm, element_bytes).run(from, to);
}

}  // namespace te::cuda
