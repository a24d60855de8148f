// A GPU as a device.
#pragma once
#include <cuda_runtime_api.h>

#include <string>

#include "te/device.h"

namespace te::cuda {

// The GPU of this ordinal, made when first asked for; it outlives every static. Throws te::Error "backend" where it
// cannot be used.
Device& cuda_device(int ordinal);
struct Context;
Context& cuda_context(int ordinal);

// Why the GPU of this ordinal cannot run the kernels; empty: it can.
std::string reason_against(const cudaDeviceProp& properties);

}  // namespace te::cuda
