// Ops that move elements: y[i] = x[offset(i)], with a value where pad has none.
#include <cstring>

#include "cuda/launch.h"
#include "cuda/registration.h"
#include "cuda/values.cuh"

namespace te::cuda {
namespace {

struct Window {  // of pad: where y is outside of x
  int rank = 0;
  int64_t size[kMaxRank], low[kMaxRank], inner[kMaxRank];
};

template <class T>
__global__ void gather(const T* x, T* y, int64_t total, Strided from, Window window, T value, int64_t y_start,
                       Strided to) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= total) return;
  bool inside = true;
  int64_t rest = i;
  for (int d = window.rank - 1; d >= 0; --d) {
    const int64_t at = rest % window.size[d] - window.low[d];
    rest /= window.size[d];
    inside = inside && at >= 0 && at < window.inner[d];
  }
  y[to.rank ? to(i) : i] = inside ? x[from(i)] : value;
}

struct Move {
  Strided from, to;
  Window window;
  int64_t total = 0;
  double value = 0;
  int input = 0;
};

class Moves : public Kernel {
 public:
  Moves(std::vector<Move> moves, DType dtype) : moves_(std::move(moves)), dtype_(dtype) {}
  void run(const Call& call) override {
    for (const Move& m : moves_) {
      if (m.total == 0) continue;
      const dim3 grid(static_cast<unsigned>((m.total + 127) / 128));
      const void* x = call.in[m.input];
      switch (dtype_bytes(dtype_)) {
        case 4: {
          uint32_t bits;
          const float f = static_cast<float>(m.value);
          std::memcpy(&bits, &f, 4);
          if (dtype_ != DType::float32) bits = static_cast<uint32_t>(static_cast<int64_t>(m.value));
          launch("move", gather<uint32_t>, {grid, dim3(128)}, static_cast<const uint32_t*>(x), call.output<uint32_t>(0),
                 m.total, m.from, m.window, bits, 0, m.to);
          break;
        }
        case 2: {
          uint16_t bits;
          const __nv_bfloat16 f = __float2bfloat16_rn(static_cast<float>(m.value));
          std::memcpy(&bits, &f, 2);
          launch("move", gather<uint16_t>, {grid, dim3(128)}, static_cast<const uint16_t*>(x), call.output<uint16_t>(0),
                 m.total, m.from, m.window, bits, 0, m.to);
          break;
        }
        default:
          launch("move", gather<uint8_t>, {grid, dim3(128)}, static_cast<const uint8_t*>(x), call.output<uint8_t>(0),
                 m.total, m.from, m.window, static_cast<uint8_t>(m.value), 0, m.to);
      }
    }
  }

 private:
  std::vector<Move> moves_;
  DType dtype_;
};

std::vector<int64_t> strides(const Shape& shape) {
  std::vector<int64_t> s(shape.size());
  int64_t step = 1;
  for (size_t d = shape.size(); d-- > 0; step *= shape[d]) s[d] = step;
  return s;
}

std::unique_ptr<Kernel> prepare(const Node& node, std::string* why) {
  const Aval& y = node.outputs[0];
  if (y.shape.size() > kMaxRank) return *why = "rank", nullptr;
  const size_t rank = y.shape.size();
  std::vector<Move> moves;
  int64_t offset = 0;
  for (size_t n = 0; n < node.inputs.size(); ++n) {
    const Aval& x = node.inputs[n];
    const std::vector<int64_t> in = strides(x.shape), out = strides(y.shape);
    Move m;
    m.input = static_cast<int>(n);
    m.total = node.op == "concat" ? x.size() : y.size();
    m.from.rank = static_cast<int>(rank);
    const auto lists = [&](const char* name) { return node.params.integers(name); };
    for (size_t d = 0; d < rank; ++d) {
      m.from.size[d] = y.shape[d];
      if (node.op == "transpose") {
        m.from.stride[d] = in[static_cast<size_t>(lists("perm")[d])];
      } else if (node.op == "slice") {
        m.from.start += lists("start")[d] * in[d];
        m.from.stride[d] = lists("stride")[d] * in[d];
      } else if (node.op == "pad") {
        m.from.start -= lists("low")[d] * in[d];
        m.from.stride[d] = in[d];
        m.window.rank = static_cast<int>(rank);
        m.window.size[d] = y.shape[d], m.window.low[d] = lists("low")[d], m.window.inner[d] = x.shape[d];
        m.value = node.params.number("value");
        if (y.dtype == DType::float16 && m.value != 0) return *why = "pad of float16", nullptr;
      } else if (node.op == "broadcast_to") {
        const size_t skip = rank - x.shape.size();
        m.from.stride[d] = d < skip || x.shape[d - skip] == 1 ? 0 : in[d - skip];
      } else if (node.op == "concat") {
        int64_t axis = node.params.integer("axis");
        if (axis < 0) axis += static_cast<int64_t>(rank);
        m.from.size[d] = x.shape[d];
        m.from.stride[d] = in[d];
        m.to.rank = static_cast<int>(rank);
        m.to.size[d] = x.shape[d], m.to.stride[d] = out[d];
        if (static_cast<int64_t>(d) == axis) m.to.start = offset * out[d], offset += x.shape[d];
      } else if (node.op == "flip") {
        m.from.stride[d] = in[d];
        for (int64_t axis : lists("axes"))
          if (axis == static_cast<int64_t>(d) || axis + static_cast<int64_t>(rank) == static_cast<int64_t>(d))
            m.from.stride[d] = -in[d], m.from.start += (y.shape[d] - 1) * in[d];
      } else {  // copy, reshape
        m.from.stride[d] = out[d];
      }
    }
    moves.push_back(m);
  }
  return std::make_unique<Moves>(std::move(moves), y.dtype);
}
TE_CUDA_KERNEL(transpose, prepare);
TE_CUDA_KERNEL(slice, prepare);
TE_CUDA_KERNEL(pad, prepare);
TE_CUDA_KERNEL(broadcast_to, prepare);
TE_CUDA_KERNEL(concat, prepare);
TE_CUDA_KERNEL(flip, prepare);
TE_CUDA_KERNEL(copy, prepare);
TE_CUDA_KERNEL(reshape, prepare);

}  // namespace

void permute(const void* from, void* to, const Shape& shape, const std::vector<int64_t>& perm, size_t bytes) {
  const std::vector<int64_t> in = strides(shape);
  Strided walk;
  walk.rank = static_cast<int>(perm.size());
  for (size_t d = 0; d < perm.size(); ++d)
    walk.size[d] = shape[static_cast<size_t>(perm[d])], walk.stride[d] = in[static_cast<size_t>(perm[d])];
  const int64_t total = count(shape);
  const Launch grid{dim3(static_cast<unsigned>((total + 127) / 128)), dim3(128)};
  if (bytes == 4)
    launch("permute", gather<uint32_t>, grid, static_cast<const uint32_t*>(from), static_cast<uint32_t*>(to), total,
           walk, Window{}, 0u, 0, Strided{});
  else
    launch("permute", gather<uint16_t>, grid, static_cast<const uint16_t*>(from), static_cast<uint16_t*>(to), total,
           walk, Window{}, static_cast<uint16_t>(0), 0, Strided{});
}

namespace {
// --- fill, iota
// -------------------------------------------------------------------------------------------------------

__global__ void fill_values(void* y, DType t, int64_t total, double value, bool counts, int64_t inner, int64_t length) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= total) return;
  const double x = counts ? static_cast<double>(i / inner % length) : value;
  if (is_real(t))
    store_real(t, y, i, static_cast<float>(x));
  else
    store_bits(t, y, i, static_cast<uint32_t>(static_cast<int64_t>(x)));
}
class Fill : public Kernel {
 public:
  explicit Fill(const Node& node)
      : y_(node.outputs[0]), value_(node.params.number("value")), counts_(node.op == "iota") {
    if (node.params.has("value") && node.params.flag("value")) value_ = 1;
    if (!counts_) return;
    int64_t axis = node.params.integer("axis");
    if (axis < 0) axis += static_cast<int64_t>(y_.shape.size());
    length_ = y_.shape[static_cast<size_t>(axis)];
    for (size_t d = static_cast<size_t>(axis) + 1; d < y_.shape.size(); ++d) inner_ *= y_.shape[d];
  }
  void run(const Call& call) override {
    if (y_.size() == 0) return;
    launch("fill", fill_values, {dim3(static_cast<unsigned>((y_.size() + 127) / 128)), dim3(128)}, call.out[0],
           y_.dtype, y_.size(), value_, counts_, inner_, length_);
  }

 private:
  Aval y_;
  double value_;
  bool counts_;
  int64_t inner_ = 1, length_ = 1;
};
std::unique_ptr<Kernel> prepare_fill(const Node& node, std::string* why) { return std::make_unique<Fill>(node); }
TE_CUDA_KERNEL(fill, prepare_fill);
TE_CUDA_KERNEL(iota, prepare_fill);

// --- take, take_along_axis, scatter_add ------------------------------------------------------------------------------

template <class T>
__global__ void take_rows(const T* x, const int32_t* indices, T* y, int64_t total, int64_t inner, int64_t count,
                          int64_t length) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= total) return;
  const int64_t in = i % inner, k = i / inner % count, outer = i / inner / count;
  const int32_t index = indices[k];
  if (index < 0 || index >= length) __trap();  // a flag for the host, in the real thing
  y[i] = x[(outer * length + index) * inner + in];
}
// One thread for an element of the result, in a fixed order: the same bits every time.
__global__ void add_rows(const int32_t* indices, const void* updates, void* y, DType t, int64_t total, int64_t inner,
                         int64_t count, int64_t length) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= total) return;
  const int64_t in = i % inner, at = i / inner % length, outer = i / inner / length;
  float sum = 0;
  for (int64_t k = 0; k < count; ++k)
    if (indices[k] == at) sum += load_real(t, updates, (outer * count + k) * inner + in);
  store_real(t, y, i, sum);
}
class Index : public Kernel {
 public:
  Index(const Node& node) : adds_(node.op == "scatter_add"), y_(node.outputs[0]) {
    const Aval& whole = adds_ ? y_ : node.inputs[0];
    count_ = node.inputs[adds_ ? 0 : 1].size();
    int64_t axis = node.params.integer("axis");
    if (axis < 0) axis += static_cast<int64_t>(whole.shape.size());
    length_ = whole.shape[static_cast<size_t>(axis)];
    for (size_t d = static_cast<size_t>(axis) + 1; d < whole.shape.size(); ++d) inner_ *= whole.shape[d];
  }
  void run(const Call& call) override {
    const int64_t total = y_.size();
    if (total == 0) return;
    const Launch shape{dim3(static_cast<unsigned>((total + 127) / 128)), dim3(128)};
    if (adds_)
      launch("scatter_add", add_rows, shape, call.input<int32_t>(0), call.in[1], call.out[0], y_.dtype, total, inner_,
             count_, length_);
    else if (dtype_bytes(y_.dtype) == 4)
      launch("take", take_rows<uint32_t>, shape, call.input<uint32_t>(0), call.input<int32_t>(1),
             call.output<uint32_t>(0), total, inner_, count_, length_);
    else if (dtype_bytes(y_.dtype) == 2)
      launch("take", take_rows<uint16_t>, shape, call.input<uint16_t>(0), call.input<int32_t>(1),
             call.output<uint16_t>(0), total, inner_, count_, length_);
    else
      launch("take", take_rows<uint8_t>, shape, call.input<uint8_t>(0), call.input<int32_t>(1), call.output<uint8_t>(0),
             total, inner_, count_, length_);
  }

 private:
  bool adds_;
  Aval y_;
  int64_t inner_ = 1, count_ = 1, length_ = 1;
};
std::unique_ptr<Kernel> prepare_index(const Node& node, std::string* why) {
  if (node.op == "scatter_add" && node.outputs[0].dtype > DType::float16) return *why = "dtype", nullptr;
  return std::make_unique<Index>(node);
}
TE_CUDA_KERNEL(take, prepare_index);
TE_CUDA_KERNEL(scatter_add, prepare_index);

template <class T>
__global__ void take_each(const T* x, const int32_t* indices, T* y, int64_t total, int64_t inner, int64_t count,
                          int64_t length) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= total) return;
  const int64_t in = i % inner, outer = i / inner / count;
  const int32_t index = indices[i];
  if (index < 0 || index >= length) __trap();
  y[i] = x[(outer * length + index) * inner + in];
}
class TakeEach : public Kernel {
 public:
  TakeEach(const Node& node) : x_(node.inputs[0]), y_(node.outputs[0]) {
    int64_t axis = node.params.integer("axis");
    if (axis < 0) axis += static_cast<int64_t>(x_.shape.size());
    length_ = x_.shape[static_cast<size_t>(axis)], count_ = y_.shape[static_cast<size_t>(axis)];
    for (size_t d = static_cast<size_t>(axis) + 1; d < x_.shape.size(); ++d) inner_ *= x_.shape[d];
  }
  void run(const Call& call) override {
    const int64_t total = y_.size();
    if (total == 0) return;
    const Launch shape{dim3(static_cast<unsigned>((total + 127) / 128)), dim3(128)};
    if (dtype_bytes(y_.dtype) == 4)
      launch("take_along_axis", take_each<uint32_t>, shape, call.input<uint32_t>(0), call.input<int32_t>(1),
             call.output<uint32_t>(0), total, inner_, count_, length_);
    else
      launch("take_along_axis", take_each<uint16_t>, shape, call.input<uint16_t>(0), call.input<int32_t>(1),
             call.output<uint16_t>(0), total, inner_, count_, length_);
  }

 private:
  Aval x_, y_;
  int64_t inner_ = 1, count_ = 1, length_ = 1;
};
std::unique_ptr<Kernel> prepare_each(const Node& node, std::string* why) {
  if (dtype_bytes(node.outputs[0].dtype) == 1) return *why = "dtype", nullptr;
  return std::make_unique<TakeEach>(node);
}
TE_CUDA_KERNEL(take_along_axis, prepare_each);

}  // namespace
}  // namespace te::cuda
