// Copies between arrays whose axes have any strides: slices, broadcasts, reversals, windows and rows are all this.
#pragma once
#include "plan/moves.h"

namespace te::cuda {

// Where a window starts, when that is a value: of each axis an int32 on the device, which is held inside [0, limit].
struct WindowStart {
  Shape limit;                   // of each axis of the array
  std::vector<int64_t> strides;  // of that array
  bool of_output = false;        // the window lies in the target
};

class StridedCopy {
 public:
  StridedCopy(StridedMove move, size_t element_bytes, WindowStart start = {});
  // `start`: int32 of each axis of the array, on the device, where there is a WindowStart.
  void run(const void* from, void* to, const int32_t* start = nullptr) const;
  // Bytes that move at once.
  size_t word_bytes() const { return word_; }

 private:
  int64_t from_, to_, words_ = 1;
  size_t word_;
  bool gathers_ = false;  // a chunk of the target is put together from single elements
  std::vector<MovedAxis> axes_;
  WindowStart start_;
};

}  // namespace te::cuda
