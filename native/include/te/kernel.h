// What a kernel is: it looks at a node once (prepare), declines what it does not know, and then runs any number of
// times without allocating. No Node.js and no CUDA in here.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "te/dtype.h"
#include "te/params.h"

namespace te {

using Shape = std::vector<int64_t>;

inline int64_t count(const Shape& shape) {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

// Shape and dtype of one operand. `present` is false for an optional operand that the call leaves out.
struct Aval {
  Shape shape;
  DType dtype = DType::float32;
  bool present = true;
  int64_t size() const { return count(shape); }
  size_t bytes() const { return static_cast<size_t>(size()) * dtype_bytes(dtype); }
};

struct Node {
  std::string op;
  std::vector<Aval> inputs;  // in the order of the op's definition, optional ones last
  std::vector<Aval> outputs;
  Params params;
};

// Memory of one run. Every buffer is contiguous, row-major and 64-byte aligned; an absent operand is nullptr.
struct Call {
  const void* const* in;
  void* const* out;
  void* scratch;  // scratch_bytes() bytes, 64-byte aligned, contents undefined
  template <class T>
  const T* input(int i) const {
    return static_cast<const T*>(in[i]);
  }
  template <class T>
  T* output(int i) const {
    return static_cast<T*>(out[i]);
  }
};

class Kernel {
 public:
  virtual ~Kernel() = default;
  virtual size_t scratch_bytes() const { return 0; }
  // For tests: which of its ways the kernel chose in prepare; empty where there is one.
  virtual std::string path() const { return {}; }
  // Throws te::Error when the values (not the shapes) make the result impossible, such as an index out of range. Where
  // the device learns that later, its outcome of the run says so, if the kernel checks_values().
  virtual void run(const Call& call) = 0;
  virtual bool checks_values() const { return false; }
  // It waits for other processes more than it computes: it may run on a thread of its own beside kernels that need
  // none of its results. Such kernels run one after another, in the order of the program.
  virtual bool exchanges() const { return false; }
};

// Returns nullptr after setting *why when the kernel does not know this dtype, layout or parameter.
using Prepare = std::unique_ptr<Kernel> (*)(const Node& node, std::string* why);

// Instruction sets of the kind of processor, ascending. A kernel source is compiled once per level in its own
// namespace; the registry hands out the highest level that the processor has (TE_CPU_ISA, the name of a level, lowers
// it). Above avx512 and neon only products of bfloat16 (cpu/gemm/bfloat16_unit.h) and rounding in attention differ.
#if defined(__aarch64__)
enum class Isa : int { scalar, neon, neon_bf16 };
#else
enum class Isa : int { scalar, avx2, avx512, avx512_bf16, amx };
#endif

struct Registration {
  Registration(const char* op, Isa isa, Prepare prepare);
};

// nullptr and *why when no kernel takes the node.
std::unique_ptr<Kernel> prepare_kernel(const Node& node, std::string* why);
bool has_kernel(const std::string& op);
Isa best_isa();    // of the processor
Isa active_isa();  // that kernels use
const char* isa_name(Isa isa);

}  // namespace te

// Put at namespace scope at the end of a kernel file: TE_KERNEL(layer_norm, prepare_layer_norm)
#ifndef TE_ISA
#define TE_ISA scalar
#endif
#define TE_KERNEL(op, prepare) \
  static const ::te::Registration te_registration_##op { #op, ::te::Isa::TE_ISA, prepare }
