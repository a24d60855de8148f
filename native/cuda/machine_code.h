// Whether this build has code for a GPU.
#pragma once

namespace te::cuda {

struct Context;

// Throws te::Error "backend", with the way out, where the kernels were not compiled for the current GPU.
void expect_machine_code(const Context& context);

}  // namespace te::cuda
