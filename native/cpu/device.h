// The CPU as a device.
#pragma once
#include "te/device.h"

namespace te {

// The one of the process; it outlives every static.
Device& cpu_device();

}  // namespace te
