// Stores that go past the caches. A result much larger than the caches is not there any more when the next kernel reads
// it, and an ordinary store first reads the line it overwrites: a third of the traffic of a copy.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu/convert.h"
#include "te/dtype.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Results at least this large are streamed.
inline constexpr int64_t kStreamBytes = int64_t{16} << 20;

inline void copy_past_cache(void* to, const void* from, int64_t bytes) {
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  const int64_t head = std::min<int64_t>(bytes, -reinterpret_cast<intptr_t>(target) & 63);
  if (head > 0) std::memcpy(target, source, static_cast<size_t>(head));
  int64_t i = head;
#if defined(__AVX512F__)
  for (; i + 64 <= bytes; i += 64)
    _mm512_stream_si512(reinterpret_cast<__m512i*>(target + i), _mm512_loadu_si512(source + i));
#elif defined(__AVX__)
  for (; i + 32 <= bytes; i += 32)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(target + i),
                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(source + i)));
#elif defined(__SSE2__)
  for (; i + 16 <= bytes; i += 16)
    _mm_stream_si128(reinterpret_cast<__m128i*>(target + i),
                     _mm_loadu_si128(reinterpret_cast<const __m128i*>(source + i)));
#endif
  if (i < bytes) std::memcpy(target + i, source + i, static_cast<size_t>(bytes - i));
}

// To be called by every thread that streamed, before others read the result.
inline void finish_streaming() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

// Whether `rows` rows of `length` bytes, one after another, go past the caches; only then do they consist of whole
// lines.
inline bool streams_rows(int64_t rows, int64_t length) { return rows * length >= kStreamBytes && length % 64 == 0; }

inline void copy_row(void* to, const void* from, int64_t length, bool stream) {
  if (stream)
    copy_past_cache(to, from, length);
  else
    std::memcpy(to, from, static_cast<size_t>(length));
}

// Rounds a row to `type` on its way past the caches.
[[gnu::noinline]] inline void stream_row(DType type, const float* from, int64_t n, void* to, bool saturate = false) {
  if (type == DType::float32) return copy_past_cache(to, from, 4 * n);
  constexpr int64_t kPiece = 1024;
  alignas(64) char rounded[kPiece * 4];
  const int64_t size = static_cast<int64_t>(dtype_bytes(type));
  for (int64_t i = 0; i < n; i += kPiece) {
    const int64_t length = std::min(kPiece, n - i);
    store_row(type, from + i, length, rounded, saturate);
    copy_past_cache(static_cast<char*>(to) + i * size, rounded, length * size);
  }
}

// Asks for memory that will be read soon.
inline void prefetch_bytes(const void* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(from) + i);
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
