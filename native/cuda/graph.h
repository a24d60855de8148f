// Programs as CUDA graphs.
#pragma once
#include <functional>
#include <memory>

#include "cuda/context.h"
#include "te/device.h"

namespace te::cuda {

// What `body` queues on stream(), as a graph. nullptr: CUDA cannot capture it.
std::unique_ptr<Recording> capture(Context& context, const std::function<void()>& body);

}  // namespace te::cuda
