// Stable sorts along an axis on the GPU.
#pragma once
#include "plan/axis.h"
#include "te/dtype.h"

namespace te::cuda {

class Sorter {
 public:
  // Keys of at most `key_bits` bits; 0: as many as the dtype has.
  Sorter(const AroundAxis& around, DType dtype, bool descending, int key_bits = 0);
  size_t scratch_bytes() const;
  // values = x in order, indices = where they came from. `scratch` is 64-byte aligned.
  void run(const void* x, void* values, int32_t* indices, void* scratch) const;
  bool short_rows() const { return around_.length <= kShort; }

 private:
  // Rows up to this length are sorted in shared memory.
  static constexpr int64_t kShort = 4096;
  void run_short(const void* x, void* values, int32_t* indices) const;
  void run_long(const void* x, void* values, int32_t* indices, void* scratch) const;

  AroundAxis around_;
  DType dtype_;
  bool descending_;
  int passes_;
  int64_t rows_, batch_;  // rows that are sorted at a time where they are long
};

}  // namespace te::cuda
