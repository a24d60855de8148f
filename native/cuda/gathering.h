// What the blocks of one kernel meet in.
#pragma once

namespace te::cuda {

// Zero between kernels, because each leaves it so; the kernels of a GPU run one after another on its stream.
struct Gathering {
  unsigned arrived, most;
};

}  // namespace te::cuda
