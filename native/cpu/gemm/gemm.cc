// A whole product of floats: copies what the axes ask for and chooses the way to compute it.
#include "cpu/gemm/gemm.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "cpu/gemm/gemv.h"
#include "cpu/gemm/packed.h"
#include "cpu/permute.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

class FloatGemm : public Gemm {
 public:
  FloatGemm(DotDims dims, const Epilogue& epilogue) : a_(dims.a), b_(dims.b) {
    if (dims.batches() * dims.m * dims.n == 0) return;
    empty_ = false;
    Layout layout;
    copy_a_at_ = plan_copy(a_, &copy_a_, &layout);
    copy_b_at_ = plan_copy(b_, &copy_b_, &layout);
    inner_at_ = layout.end();
    // Few columns under many rows: the transposed product is the one with few rows.
    swapped_ = dims.n <= kGemvGroup && dims.m > dims.n;
    if (swapped_) {
      std::swap(dims.a, dims.b);
      std::swap(dims.m, dims.n);
    }
    const double work = 2.0 * static_cast<double>(dims.m) * static_cast<double>(dims.n) * static_cast<double>(dims.k);
    const int threads = static_cast<int>(std::clamp(work * static_cast<double>(dims.batches()) / kWorkPerThread, 1.0,
                                                    static_cast<double>(num_threads())));
    packed_ = dims.m > kGemvGroup && work > kSmallWork;
    if (packed_)
      large_.plan(dims, epilogue, threads);
    else
      gemv_.plan(dims, epilogue, swapped_, threads);
  }

  size_t scratch_bytes() const override {
    if (empty_) return 0;
    return static_cast<size_t>(inner_at_ + (packed_ ? large_.scratch_bytes() : gemv_.scratch_bytes()));
  }

  std::string path() const override { return empty_ ? "empty" : packed_ ? large_.path() : "gemv"; }

  void run(GemmCall call) const override {
    if (empty_) return;
    if (a_.copy) call.a = copied(copy_a_, call.a, call.scratch + copy_a_at_);
    if (b_.copy) call.b = copied(copy_b_, call.b, call.scratch + copy_b_at_);
    if (swapped_) std::swap(call.a, call.b);
    call.scratch += inner_at_;
    packed_ ? large_.run(call) : gemv_.run(call);
  }

 private:
  static constexpr double kWorkPerThread = 2e6;  // operations that are worth waking a thread for
  static constexpr double kSmallWork = 2.0 * 40 * 40 * 40;

  static int64_t plan_copy(const DotOperand& operand, Permutation* permutation, Layout* layout) {
    if (!operand.copy) return 0;
    *permutation = Permutation(operand.copy_shape, operand.copy_perm, dtype_bytes(operand.dtype));
    return layout->take(count(operand.copy_shape) * static_cast<int64_t>(dtype_bytes(operand.dtype)));
  }

  static const void* copied(const Permutation& permutation, const void* from, char* to) {
    permutation.run(from, to);
    return to;
  }

  DotOperand a_, b_;
  Permutation copy_a_, copy_b_;
  PackedGemm large_;
  Gemv gemv_;
  bool empty_ = true, swapped_ = false, packed_ = false;
  int64_t copy_a_at_ = 0, copy_b_at_ = 0, inner_at_ = 0;
};

}  // namespace

std::unique_ptr<Gemm> make_gemm(DotDims dims, const EpilogueSpec& epilogue) {
  return std::make_unique<FloatGemm>(std::move(dims), Epilogue{epilogue});
}

}  // namespace TE_ISA_NAMESPACE
}  // namespace te
