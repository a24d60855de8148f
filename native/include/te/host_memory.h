// Memory of the machine, for the devices that compute in it and for what is read from others.
#pragma once
#include "te/pool.h"

namespace te {

// The one pool of host memory: 64-byte aligned blocks, on huge pages where they are large. Exact blocks that are never
// kept under the address sanitizer. Outlives every static.
Pool& host_pool();

}  // namespace te
