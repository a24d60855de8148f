// Builds with the address sanitizer see every access behind a block: they take exact blocks from the system, and hide
// what a kernel has no business with inside the blocks that several values share.
#pragma once
#include <cstddef>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define TE_ADDRESS_SANITIZER 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define TE_ADDRESS_SANITIZER 1
#endif

#ifdef TE_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace te {

#ifdef TE_ADDRESS_SANITIZER
inline constexpr bool kExactMemory = true;
inline void hide_memory(const void* from, size_t bytes) { __asan_poison_memory_region(from, bytes); }
inline void show_memory(const void* from, size_t bytes) { __asan_unpoison_memory_region(from, bytes); }
#else
inline constexpr bool kExactMemory = false;
inline void hide_memory(const void*, size_t) {}
inline void show_memory(const void*, size_t) {}
#endif

}  // namespace te
