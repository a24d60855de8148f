// random_bits(key){shape, width, of, start}, random_split(key){count} and random_fold_in(key, data): JAX's bits.
#include "plan/random.h"

#include "cpu/threefry.h"
#include "te/kernel.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class RandomBits : public Kernel {
 public:
  RandomBits(const Shape& shape, const Draw& draw, int64_t width) : rows_(shape, draw), width_(width) {}

  void run(const Call& call) override {
    parallel_for(rows_.rows * rows_.width, 1 << 12, [&](int64_t begin, int64_t end) {
      if (width_ == 8)
        draw(call, call.output<uint8_t>(0), begin, end, [](uint32_t x) { return static_cast<uint8_t>(x); });
      else if (width_ == 16)
        draw(call, call.output<uint32_t>(0), begin, end, [](uint32_t x) { return x & 0xffffu; });
      else
        draw(call, call.output<uint32_t>(0), begin, end, [](uint32_t x) { return x; });
    });
  }

 private:
  // Elements [begin, end): cut(bits) of each.
  template <class T, class F>
  void draw(const Call& call, T* out, int64_t begin, int64_t end, const F& cut) const {
    const uint32_t* key = call.input<uint32_t>(0);
    for (int64_t i = begin, n; i < end; i += n) {
      const int64_t row = i / rows_.width, at = i % rows_.width;
      n = std::min(rows_.width - at, end - i);
      threefry_row(key[0], key[1], static_cast<uint64_t>(rows_.counter(row) + at), n, out + i, cut);
    }
  }

  DrawRows rows_;
  int64_t width_;
};

std::unique_ptr<Kernel> prepare_bits(const Node& node, std::string* why) {
  int64_t width;
  Draw draw;
  if (!read_random_bits(node, &width, &draw, why)) return nullptr;
  return std::make_unique<RandomBits>(node.outputs[0].shape, draw, width);
}

class RandomSplit : public Kernel {
 public:
  explicit RandomSplit(int64_t count) : count_(count) {}
  void run(const Call& call) override {
    const uint32_t* key = call.input<uint32_t>(0);
    uint32_t* out = call.output<uint32_t>(0);
    for (int64_t i = 0; i < count_; ++i) {
      const uint64_t counter = static_cast<uint64_t>(i);
      threefry2x32(key[0], key[1], static_cast<uint32_t>(counter >> 32), static_cast<uint32_t>(counter), out + 2 * i,
                   out + 2 * i + 1);
    }
  }

 private:
  int64_t count_;
};

std::unique_ptr<Kernel> prepare_split(const Node& node, std::string* why) {
  if (!read_random_split(node, why)) return nullptr;
  return std::make_unique<RandomSplit>(node.outputs[0].size() / 2);
}

class RandomFoldIn : public Kernel {
 public:
  void run(const Call& call) override {
    const uint32_t k0 = call.input<uint32_t>(0)[0], k1 = call.input<uint32_t>(0)[1], data = *call.input<uint32_t>(1);
    uint32_t* out = call.output<uint32_t>(0);
    threefry2x32(k0, k1, 0u, data, out, out + 1);
  }
};

std::unique_ptr<Kernel> prepare_fold_in(const Node& node, std::string* why) {
  if (!read_random_fold_in(node, why)) return nullptr;
  return std::make_unique<RandomFoldIn>();
}

}  // namespace
TE_KERNEL(random_bits, prepare_bits);
TE_KERNEL(random_split, prepare_split);
TE_KERNEL(random_fold_in, prepare_fold_in);
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
