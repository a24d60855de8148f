// Copies for a thread that must not be held up: that of JavaScript.
#pragma once
#include <cstddef>

namespace te {

// memcpy, by several threads where that pays: most of the time goes into pages that are touched for the first time.
void copy_bytes(void* to, const void* from, size_t bytes);

}  // namespace te
