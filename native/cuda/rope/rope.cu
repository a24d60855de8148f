// rope: turns pairs of numbers by angles that grow with the position. A thread has some pairs of a position, computes
// their cosines and sines once and turns them in several heads. Of packed tensors the first heads turn and the others
// are copied.
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <cmath>

#include "cuda/launch.h"
#include "cuda/registration.h"
#include "cuda/report.cuh"
#include "cuda/vector.cuh"
#include "plan/refusals.h"

namespace te::cuda {
namespace {

constexpr int kThreads = 256;

// Pair i turns by position · first · 2^(-i · step) whole turns.
struct Turns {
  double first, step;
  float sign;
  __device__ double of(int64_t pair) const { return first * exp2(-step * static_cast<double>(pair)); }
};

struct Layout {
  int64_t length, batch, heads, turning, pairs;  // heads: all of a position; turning: the first ones, which turn
  bool batch_first;
  int64_t head_groups, pair_groups;  // threads that share a row of x

  int64_t threads() const { return length * batch * head_groups * pair_groups; }
};

// Of the angle of some turns. Whole and quarter turns are dropped in double, so that large positions keep float32's
// precision.
__device__ inline void sine_and_cosine(double turns, float* sine, float* cosine) {
  const double quarters = 4 * turns, whole = rint(quarters);
  float s, c;
  sincospif(0.5f * static_cast<float>(quarters - whole), &s, &c);
  const int quadrant = static_cast<int>(whole - 4 * floor(whole * 0.25));
  *sine = quadrant == 0 ? s : quadrant == 1 ? c : quadrant == 2 ? -s : -c;
  *cosine = quadrant == 0 ? c : quadrant == 1 ? -s : quadrant == 2 ? -c : s;
}

template <class T, int kPairs>
struct Turned {
  float sine[kPairs], cosine[kPairs];

  __device__ void turn(T* u, T* v, int i) const {
    const float a = static_cast<float>(*u), b = static_cast<float>(*v);
    *u = static_cast<T>(a * cosine[i] - b * sine[i]);
    *v = static_cast<T>(b * cosine[i] + a * sine[i]);
  }
  // Of one head, which turns or is copied; x and y, which may be the same memory, start with its first pair.
  template <bool kAlternate>
  __device__ void head(const T* x, T* y, int64_t pairs, bool turns) const {
    if constexpr (kAlternate) {
      Vector<T, kPairs> u = load_vector<kPairs>(x), v = load_vector<kPairs>(x + pairs);
#pragma unroll
      for (int i = 0; i < kPairs; ++i)
        if (turns) turn(&u.at[i], &v.at[i], i);
      store_vector(u, y);
      store_vector(v, y + pairs);
    } else {
      Vector<T, 2 * kPairs> both = load_vector<2 * kPairs>(x);
#pragma unroll
      for (int i = 0; i < kPairs; ++i)
        if (turns) turn(&both.at[2 * i], &both.at[2 * i + 1], i);
      store_vector(both, y);
    }
  }
};

template <class T, bool kAlternate, int kPairs>
__global__ void __launch_bounds__(kThreads)
    turn_rows(const T* x, const int32_t* positions, bool per_sample, T* y, const Layout of, const Turns turns,
              int64_t threads, const Report to) {
  int64_t rest = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (rest >= threads) return;
  const int64_t pair = rest % of.pair_groups * kPairs;
  rest /= of.pair_groups;
  const int64_t first_head = rest % of.head_groups, row = rest / of.head_groups;
  const int64_t i = of.batch_first ? row % of.length : row / of.batch;
  int64_t position = i;
  if (positions) {
    const int64_t at = per_sample ? (of.batch_first ? row : row % of.batch * of.length + i) : i;
    position = positions[at];
    if (position < -kMaxRopePosition || position > kMaxRopePosition) {
      report(to, at, static_cast<int32_t>(position));
      position = 0;
    }
  }

  Turned<T, kPairs> turned;
#pragma unroll
  for (int k = 0; k < kPairs; ++k) {
    sine_and_cosine(static_cast<double>(position) * turns.of(pair + k), &turned.sine[k], &turned.cosine[k]);
    turned.sine[k] *= turns.sign;
  }
  const int64_t offset = row * of.heads * 2 * of.pairs + (kAlternate ? pair : 2 * pair);
  const int64_t heads = x == y ? of.turning : of.heads;
  for (int64_t head = first_head; head < heads; head += of.head_groups) {
    const int64_t at = offset + head * 2 * of.pairs;
    turned.template head<kAlternate>(x + at, y + at, of.pairs, head < of.turning);
  }
}

class Rope : public Kernel {
 public:
  explicit Rope(const Node& node)
      : dtype_(node.inputs[0].dtype),
        alternate_(node.params.text("method", "consecutive") == "alternate"),
        has_positions_(node.inputs.size() > 1 && node.inputs[1].present),
        per_sample_(has_positions_ && node.inputs[1].shape.size() == 2),
        site_([](int64_t position, int32_t value) {
          return Failure{"index", refused_rope_position(value, position)};
        }) {
    const Shape& shape = node.inputs[0].shape;
    const int64_t axis = node.params.integer("sequenceAxis", 1);
    const int64_t slots = node.params.integer("slots", 0), heads = shape[shape.size() - 2], pairs = shape.back() / 2;
    of_ = {shape[static_cast<size_t>(axis)],
           shape[static_cast<size_t>(1 - axis)],
           slots > 0 ? shape[2] * heads : heads,
           slots > 0 ? slots * heads : heads,
           pairs,
           axis == 1,
           1,
           1};
    const double low = node.params.number("windowMin", 1), high = node.params.number("windowMax", 10000);
    turns_ = {1 / low / (2 * M_PI), std::log2(high / low) / static_cast<double>(pairs),
              node.params.flag("inverse") ? -1.0f : 1.0f};
    wide_ = 16 / static_cast<int>(dtype_bytes(dtype_)) / (alternate_ ? 1 : 2);
    if (pairs % wide_ != 0) wide_ = 1;
    of_.pair_groups = pairs / wide_;
    // Threads turn several heads where there are enough of them to fill a GPU without.
    constexpr int64_t kEnough = 1 << 18;
    while (of_.head_groups < of_.heads && of_.threads() < kEnough) of_.head_groups *= 2;
    of_.head_groups = std::min(of_.head_groups, std::max<int64_t>(of_.heads, 1));
  }
  bool checks_values() const override { return has_positions_; }

  void run(const Call& call) override {
    if (of_.threads() == 0 || of_.heads == 0) return;
    switch (dtype_) {
      case DType::float32:
        return turn<float>(call);
      case DType::bfloat16:
        return turn<__nv_bfloat16>(call);
      default:
        return turn<__half>(call);
    }
  }

 private:
  template <class T>
  void turn(const Call& call) const {
    constexpr int kWide = 16 / sizeof(T);
    if (alternate_)
      wide_ > 1 ? turn_as<T, true, kWide>(call) : turn_as<T, true, 1>(call);
    else
      wide_ > 1 ? turn_as<T, false, kWide / 2>(call) : turn_as<T, false, 1>(call);
  }
  template <class T, bool kAlternate, int kPairs>
  void turn_as(const Call& call) const {
    const int64_t threads = of_.threads();
    launch("rope", turn_rows<T, kAlternate, kPairs>,
           {dim3(static_cast<unsigned>((threads + kThreads - 1) / kThreads)), dim3(kThreads)}, call.input<T>(0),
           has_positions_ ? call.input<int32_t>(1) : nullptr, per_sample_, call.output<T>(0), of_, turns_, threads,
           site_.report());
  }

  DType dtype_;
  bool alternate_, has_positions_, per_sample_;
  Layout of_{};
  Turns turns_{};
  int wide_ = 1;
  Site site_;
};

std::unique_ptr<Kernel> prepare_rope(const Node& node, std::string* why) {
  if (!node.params.only({"method", "windowMin", "windowMax", "sequenceAxis", "slots", "inverse"}, why)) return nullptr;
  const std::string method = node.params.text("method", "consecutive");
  if (node.inputs[0].dtype > DType::float16) {
    *why = std::string("x of dtype ") + dtype_name(node.inputs[0].dtype);
    return nullptr;
  }
  if (method != "consecutive" && method != "alternate") {
    *why = "method " + method;
    return nullptr;
  }
  return std::make_unique<Rope>(node);
}
TE_CUDA_KERNEL(rope, prepare_rope);

}  // namespace
}  // namespace te::cuda
