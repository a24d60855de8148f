// Walks through memory at its speed.
//
// Reads and writes wait for memory unless many lines are on their way at once. A walk therefore asks, line by line as
// it goes, for the lines some way ahead: the processor's own prefetching stops at the end of a page, and a burst of
// requests, such as for all of the next row, waits for the few buffers there are.
//
// Stores may go past the caches. A result much larger than the caches is not there any more when the next kernel reads
// it, and an ordinary store first reads the line it overwrites: a third of the traffic of a copy.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "cpu/simd/convert.h"
#include "te/dtype.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// Bytes between a walk and the lines it asks for.
inline constexpr int64_t kAhead = 4096;

// Asks for what a walk that has come to these bytes will read. (Behind the end of the memory it does no harm.)
template <int64_t kBytes>
inline __attribute__((always_inline)) void read_ahead(const void* from, int64_t ahead = kAhead) {
#pragma GCC unroll 4
  for (int64_t i = 0; i < kBytes; i += 64) __builtin_prefetch(static_cast<const char*>(from) + ahead + i);
}

// The same for what it will write. (`ahead` is 0 where a row is in a buffer: its own line is there already.)
template <int64_t kBytes>
inline __attribute__((always_inline)) void write_ahead(void* to, int64_t ahead) {
#pragma GCC unroll 4
  for (int64_t i = 0; i < kBytes; i += 64) __builtin_prefetch(static_cast<char*>(to) + ahead + i, 1);
}

// Asks for memory that will be read soon.
inline void prefetch_bytes(const void* from, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<const char*>(from) + i);
}

inline void prefetch_for_writing(void* to, int64_t bytes) {
  for (int64_t i = 0; i < bytes; i += 64) __builtin_prefetch(static_cast<char*>(to) + i, 1);
}

// Results at least this large are streamed.
inline constexpr int64_t kStreamBytes = int64_t{16} << 20;

inline __attribute__((always_inline)) void stream_line(char* to, const char* from) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_loadu_si512(from));
#elif defined(__AVX__)
  for (int i = 0; i < 64; i += 32)
    _mm256_stream_si256(reinterpret_cast<__m256i*>(to + i),
                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + i)));
#elif defined(__SSE2__)
  for (int i = 0; i < 64; i += 16)
    _mm_stream_si128(reinterpret_cast<__m128i*>(to + i), _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
#else
  std::memcpy(to, from, 64);
#endif
}

// ahead: of the reads; 0 where `from` is a buffer.
inline void copy_past_cache(void* to, const void* from, int64_t bytes, int64_t ahead = 0) {
  char* target = static_cast<char*>(to);
  const char* source = static_cast<const char*>(from);
  const int64_t head = std::min<int64_t>(bytes, -reinterpret_cast<intptr_t>(target) & 63);
  if (head > 0) std::memcpy(target, source, static_cast<size_t>(head));
  int64_t i = head;
  for (; i + 64 <= bytes; i += 64) {
    read_ahead<64>(source + i, ahead);
    stream_line(target + i, source + i);
  }
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
    copy_past_cache(to, from, length, kAhead);
  else
    std::memcpy(to, from, static_cast<size_t>(length));
}

// Rounds as many numbers of a row as make whole lines past the caches; returns how many.
inline int64_t stream_bfloat16_lines(const float* from, int64_t n, void* to, int64_t ahead) {
  int64_t i = 0;
#if defined(__AVX512BW__)
  if (reinterpret_cast<intptr_t>(to) % 64 != 0) return 0;
  for (; i + 32 <= n; i += 32) {
    read_ahead<128>(from + i, ahead);
    _mm512_stream_si512(reinterpret_cast<__m512i*>(static_cast<uint16_t*>(to) + i), bfloat16_codes_32(from + i));
  }
#endif
  return i;
}

// Rounds a row to `type` on its way past the caches. ahead: of the reads, as above.
[[gnu::noinline]] inline void stream_row(DType type, const float* from, int64_t n, void* to, bool saturate = false,
                                         int64_t ahead = 0) {
  if (type == DType::float32) return copy_past_cache(to, from, 4 * n, ahead);
  if (type == DType::bfloat16) {
    const int64_t done = stream_bfloat16_lines(from, n, to, ahead);
    from += done, n -= done, to = static_cast<uint16_t*>(to) + done;
  }
  constexpr int64_t kPiece = 256;
  alignas(64) char rounded[kPiece * 4];
  const int64_t size = static_cast<int64_t>(dtype_bytes(type));
  for (int64_t i = 0; i < n; i += kPiece) {
    const int64_t length = std::min(kPiece, n - i);
    if (ahead != 0) prefetch_bytes(reinterpret_cast<const char*>(from + i) + ahead, 4 * length);
    store_row(type, from + i, length, rounded, saturate);
    copy_past_cache(static_cast<char*>(to) + i * size, rounded, length * size);
  }
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
