// Runs one kernel without Node.js, for tests and timings beside it:
//
//   // native/test/layer_norm_test.cc
//   #include "test/harness.h"
//   int main() {
//     te::test::Op op("rms_norm");
//     op.input(DType::bfloat16, {64, 768}).input(DType::float32, {768}).output(DType::bfloat16, {64, 768})
//         .output(DType::float32, {64}).param("epsilon", 1e-6);
//     op.normal(0).normal(1, 1.0, 0.1);
//     op.run();                                       // prepares at the first call; throws when the kernel declines
//     op.expect_close("y", 0, wanted, 1e-2, 1e-2);    // wanted: std::vector<double>
//     op.time("768 bf16", op.bytes());                // prints µs, GB/s and the share of memcpy's speed
//     return te::test::failures();
//   }
//
// Build: cmake -S native -B native/build-mine -G Ninja -DTE_ONLY="layer_norm" && cmake --build native/build-mine
// --target layer_norm_test
#pragma once
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <new>
#include <random>
#include <vector>

#include "cpu/simd/convert.h"
#include "te/kernel.h"
#include "te/parallel.h"
#include "te/sanitize.h"
#include "te/status.h"

namespace te::test {
using namespace te::TE_ISA_NAMESPACE;

inline int& failures() {
  static int count = 0;
  return count;
}

inline void expect(bool ok, const std::string& what) {
  if (ok) return;
  std::printf("FAILED %s\n", what.c_str());
  ++failures();
}

// 64-byte aligned, filled with NaN patterns so that a forgotten element shows. Behind the end are 64 bytes that nothing
// may change, nor read under the address sanitizer.
class Memory {
 public:
  explicit Memory(size_t bytes) : size(bytes), data_(::operator new (bytes + 64, std::align_val_t{64})) {
    std::memset(data_, 0xff, bytes + 64);
    hide_memory(as<char>() + size, 64);
  }
  Memory(Memory&& other) noexcept : size(other.size), data_(other.data_) { other.data_ = nullptr; }
  Memory(const Memory&) = delete;
  ~Memory() {
    if (data_) show_memory(as<char>() + size, 64);
    ::operator delete (data_, std::align_val_t{64});
  }
  template <class T = void>
  T* as() const {
    return static_cast<T*>(data_);
  }
  // False when something wrote behind the end. (The sanitizer has spoken before.)
  bool intact() const {
    if (kExactMemory) return true;
    for (size_t i = size; i < size + 64; ++i)
      if (as<uint8_t>()[i] != 0xff) return false;
    return true;
  }
  size_t size;

 private:
  void* data_;
};

// The best of many repetitions, in nanoseconds: other work on the machine only ever adds.
inline double time_ns(const std::function<void()>& body, double seconds = 0.3) {
  using Clock = std::chrono::steady_clock;
  body();
  double best = 1e300;
  int samples = 0;
  const auto stop = Clock::now() + std::chrono::duration<double>(seconds);
  do {
    const auto start = Clock::now();
    body();
    best = std::min(best, std::chrono::duration<double, std::nano>(Clock::now() - start).count());
  } while (Clock::now() < stop || ++samples < 3);
  return best;
}

// Bytes read + written per nanosecond by a parallel memcpy that moves `bytes` in all.
inline double copy_speed(size_t bytes) {
  const int64_t half = static_cast<int64_t>(std::max<size_t>(bytes / 2, 64));
  Memory from(static_cast<size_t>(half)), to(static_cast<size_t>(half));
  const double ns = time_ns([&] {
    parallel_for(half, 1 << 16, [&](int64_t a, int64_t b) {
      std::memcpy(to.as<char>() + a, from.as<char>() + a, static_cast<size_t>(b - a));
    });
  });
  return 2.0 * static_cast<double>(half) / ns;
}

class Op {
 public:
  explicit Op(const std::string& name) { node.op = name; }

  Op& input(DType dtype, Shape shape) {
    node.inputs.push_back({std::move(shape), dtype, true});
    inputs.emplace_back(node.inputs.back().bytes());
    return *this;
  }
  Op& absent() {
    node.inputs.push_back({{}, DType::float32, false});
    inputs.emplace_back(0);
    return *this;
  }
  Op& output(DType dtype, Shape shape) {
    node.outputs.push_back({std::move(shape), dtype, true});
    outputs.emplace_back(node.outputs.back().bytes());
    return *this;
  }
  Op& param(const std::string& name, double value) { return node.params.set(name, value), *this; }
  Op& param(const std::string& name, int value) { return node.params.set(name, static_cast<double>(value)), *this; }
  Op& param(const std::string& name, bool value) { return node.params.set(name, value), *this; }
  Op& param(const std::string& name, const char* value) { return node.params.set(name, std::string(value)), *this; }
  Op& param(const std::string& name, std::vector<double> value) {
    return node.params.set(name, std::move(value)), *this;
  }
  Op& texts(const std::string& name, std::vector<std::string> value) {
    return node.params.set(name, std::move(value)), *this;
  }

  // Filling and reading go through float32 and the dtype's rounding.
  Op& fill(int i, const std::function<float(int64_t)>& value) {
    std::vector<float> row(static_cast<size_t>(node.inputs[i].size()));
    for (size_t k = 0; k < row.size(); ++k) row[k] = value(static_cast<int64_t>(k));
    store_row(node.inputs[i].dtype, row.data(), static_cast<int64_t>(row.size()), inputs[i].as());
    return *this;
  }
  Op& normal(int i, double mean = 0, double deviation = 1) {
    std::normal_distribution<float> draw(static_cast<float>(mean), static_cast<float>(deviation));
    return fill(i, [&](int64_t) { return draw(random_); });
  }
  Op& uniform(int i, double low, double high) {
    std::uniform_real_distribution<float> draw(static_cast<float>(low), static_cast<float>(high));
    return fill(i, [&](int64_t) { return draw(random_); });
  }
  std::vector<double> in(int i) const { return decode(node.inputs[i], inputs[i]); }
  std::vector<double> out(int i) const { return decode(node.outputs[i], outputs[i]); }

  // The reason when no kernel takes the node, else "".
  std::string declined() {
    std::string why;
    kernel_ = prepare_kernel(node, &why);
    return kernel_ ? "" : why;
  }

  std::string path() {
    if (!scratch_) prepare();
    return kernel_->path();
  }

  void run() {
    if (!scratch_) prepare();
    kernel_->run({in_.data(), out_.data(), scratch_->as()});
    for (const Memory& m : outputs) expect(m.intact(), node.op + ": wrote behind an output");
    expect(scratch_->intact(), node.op + ": wrote behind its scratch");
  }

  void expect_close(const std::string& what, int output, const std::vector<double>& wanted, double relative,
                    double absolute) {
    const std::vector<double> got = out(output);
    double worst = 0;
    size_t at = 0;
    for (size_t i = 0; i < got.size(); ++i) {
      const bool same = got[i] == wanted[i] || (std::isnan(got[i]) && std::isnan(wanted[i]));
      const double excess = same ? 0 : std::abs(got[i] - wanted[i]) / (absolute + relative * std::abs(wanted[i]));
      if (!(excess <= worst)) worst = std::isnan(excess) ? 1e300 : excess, at = i;
    }
    char text[200];
    std::snprintf(text, sizeof text, "%s %s: element %zu is %g, wanted %g (%.3g times the limit)", node.op.c_str(),
                  what.c_str(), at, got.empty() ? 0 : got[at], wanted.empty() ? 0 : wanted[at], worst);
    expect(got.size() == wanted.size() && worst <= 1, text);
  }

  // Bytes of all inputs and outputs.
  size_t bytes() const {
    size_t sum = 0;
    for (const Memory& m : inputs) sum += m.size;
    for (const Memory& m : outputs) sum += m.size;
    return sum;
  }

  double time(const std::string& what, size_t moved, double flops = 0) {
    if (!scratch_) prepare();
    const double ns = time_ns([&] { kernel_->run({in_.data(), out_.data(), scratch_->as()}); });
    const double speed = static_cast<double>(moved) / ns;
    std::printf("%-24s %-28s %10.1f us %7.2f GB/s (%3.0f%% of memcpy)", node.op.c_str(), what.c_str(), ns / 1e3, speed,
                100 * speed / copy_speed(moved));
    if (flops > 0) std::printf(" %7.1f GFLOP/s", flops / ns);
    std::printf("  [%s, %d threads]\n", isa_name(active_isa()), num_threads());
    return ns;
  }

  Node node;
  std::vector<Memory> inputs, outputs;

 private:
  static std::vector<double> decode(const Aval& aval, const Memory& memory) {
    const int64_t n = aval.size();
    std::vector<double> values(static_cast<size_t>(n));
    if (aval.dtype == DType::int32 || aval.dtype == DType::uint32) {
      for (int64_t i = 0; i < n; ++i)
        values[i] = aval.dtype == DType::int32 ? double(memory.as<int32_t>()[i]) : double(memory.as<uint32_t>()[i]);
      return values;
    }
    std::vector<float> row(static_cast<size_t>(n));
    load_row(aval.dtype, memory.as(), n, row.data());
    for (int64_t i = 0; i < n; ++i) values[i] = row[i];
    return values;
  }

  void prepare() {
    num_threads();
    const std::string why = declined();
    if (!kernel_) throw Error("kernel", node.op + " declined: " + why);
    in_.clear();
    out_.clear();
    for (size_t i = 0; i < inputs.size(); ++i) in_.push_back(node.inputs[i].present ? inputs[i].as() : nullptr);
    for (const Memory& m : outputs) out_.push_back(m.as());
    scratch_ = std::make_unique<Memory>(kernel_->scratch_bytes());
  }

  std::mt19937 random_{1};
  std::unique_ptr<Kernel> kernel_;
  std::unique_ptr<Memory> scratch_;
  std::vector<const void*> in_;
  std::vector<void*> out_;
};

}  // namespace te::test
