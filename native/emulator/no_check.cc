// Instead of check.cc, where kernels are not instrumented.
#include "emulator/check.h"

namespace te::emu {
void check_allocated(void*, size_t) {}
void check_freed(void*, size_t) {}
void check_written(void*, size_t) {}
void check_copy(void*, const void*, size_t) {}
void check_read_by_kernel(const void*, size_t) {}
void check_async_write_begins(void*, size_t) {}
void check_async_write_ends(void*, size_t) {}
uint64_t check_engine_write_begins(void*, size_t) { return 0; }
void check_engine_write_ends(void*, size_t, const void*, uint64_t) {}
}  // namespace te::emu
