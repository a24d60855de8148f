// General permutation of axes: out[i0, i1, ...] = in[i_perm...], for elements of 1, 2, 4 or 8 bytes.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

#include "cpu/simd/register_transpose.h"
#include "plan/permute.h"
#include "te/parallel.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// kSquare words that hold, for one column each, the codes of 4 / sizeof(Code) successive rows, first row lowest. After
// transpose_square such words are whole runs of a column.
template <class Code>
inline Words stack_rows(const Code* at, int64_t row) {
  Words words = load_codes(at);
#pragma GCC unroll 4
  for (int r = 1; r < static_cast<int>(4 / sizeof(Code)); ++r)
    words |= load_codes(at + r * row) << (8 * static_cast<int>(sizeof(Code)) * r);
  return words;
}

// out[p * out_row + q] = in[q * in_row + p] for p, q < kLine<Code>, a square of whole cache lines. STREAM: `out` and
// its rows are aligned.
template <class Code>
inline constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(Code));

template <bool STREAM, class Code>
void transpose_lines(const Code* in, int64_t in_row, Code* out, int64_t out_row) {
  constexpr int64_t kSide = kLine<Code>;
  constexpr int kStack = 4 / static_cast<int>(sizeof(Code));
  // Where a vector is shorter than a line, lines pass through local copies: rows that lie a power of two apart would
  // push each other out of the cache before the second visit, and streamed lines must be written in one go.
  constexpr bool kCopyIn = kSquare < kSide, kCopyOut = STREAM && kSquare < 16;
  alignas(64) Code lines[kSide][kSide], result[kSide][kSide];
  if constexpr (kCopyIn) {
    for (int64_t q = 0; q < kSide; ++q) std::memcpy(lines[q], in + q * in_row, 64);
    in = lines[0];
    in_row = kSide;
  }
  for (int64_t p = 0; p < kSide; p += kSquare) {
    for (int64_t q = 0; q < kSide; q += kSquare * kStack) {
      Words square[kSquare];
#pragma GCC unroll 16
      for (int i = 0; i < kSquare; ++i) square[i] = stack_rows(in + (q + i * kStack) * in_row + p, in_row);
      transpose_square(square);
#pragma GCC unroll 16
      for (int i = 0; i < kSquare; ++i) {
        if constexpr (kCopyOut)
          store_words(&result[p + i][q], square[i]);
        else if constexpr (STREAM)
          stream_words(out + (p + i) * out_row + q, square[i]);
        else
          store_words(out + (p + i) * out_row + q, square[i]);
      }
    }
  }
  if constexpr (kCopyOut) {
    for (int64_t p = 0; p < kSide; ++p)
      for (int64_t q = 0; q < kSide; q += kSquare * kStack)
        stream_words(out + p * out_row + q, load_words(&result[p][q]));
  }
}

// The same for any p < columns and q < rows.
template <bool STREAM, class Code>
void transpose_block(const Code* in, int64_t in_row, Code* out, int64_t out_row, int64_t rows, int64_t columns) {
  int64_t whole_rows = 0, whole_columns = 0;
  if constexpr (sizeof(Code) <= 4) {
    whole_rows = rows / kLine<Code> * kLine<Code>;
    whole_columns = columns / kLine<Code> * kLine<Code>;
    for (int64_t p = 0; p < whole_columns; p += kLine<Code>)
      for (int64_t q = 0; q < whole_rows; q += kLine<Code>)
        transpose_lines<STREAM>(in + q * in_row + p, in_row, out + p * out_row + q, out_row);
  }
  for (int64_t p = 0; p < columns; ++p)
    for (int64_t q = p < whole_columns ? whole_rows : 0; q < rows; ++q) out[p * out_row + q] = in[q * in_row + p];
}

class Permutation {
 public:
  Permutation() = default;

  // shape: of the input; out axis i is in axis perm[i].
  Permutation(const std::vector<int64_t>& shape, const std::vector<int64_t>& perm, size_t element_bytes)
      : plan_(shape, perm, element_bytes) {
    stream_ = plan_.count * plan_.bytes >= kStreamed && plan_.across_out * plan_.bytes % 64 == 0;
    for (const MovedAxis& axis : plan_.outer) stream_ = stream_ && axis.out * plan_.bytes % 64 == 0;
  }

  void run(const void* in, void* out) const {
    if (plan_.count == 0) return;
    if (!plan_.tiled()) return copy_rows(static_cast<const char*>(in), static_cast<char*>(out));
    switch (plan_.bytes) {
      case 1:
        return stream_ ? tiles<true, uint8_t>(in, out) : tiles<false, uint8_t>(in, out);
      case 2:
        return stream_ ? tiles<true, uint16_t>(in, out) : tiles<false, uint16_t>(in, out);
      case 4:
        return stream_ ? tiles<true, uint32_t>(in, out) : tiles<false, uint32_t>(in, out);
      default:
        return tiles<false, uint64_t>(in, out);
    }
  }

 private:
  static constexpr int64_t kTileBytes = 256;  // of an input row; long enough for the prefetcher, short enough for L1
  static constexpr int64_t kTileRows = 64;
  static constexpr int64_t kGrainBytes = 1 << 17;
  // Results from here on are streamed: sooner than elsewhere, because ordinary stores to rows that lie a power of two
  // apart also push each other out of the cache.
  static constexpr int64_t kStreamed = 4 << 20;

  void copy_rows(const char* in, char* out) const {
    const auto& axes = plan_.axes;
    const int64_t length = plan_.run * plan_.bytes;
    if (axes.empty()) {
      return parallel_for(length, kGrainBytes, [&](int64_t begin, int64_t end) {
        std::memcpy(out + begin, in + begin, static_cast<size_t>(end - begin));
      });
    }
    const int64_t rows = plan_.count / plan_.run;
    const bool stream = streams_rows(rows, length);
    parallel_for(rows, std::max<int64_t>(1, kGrainBytes / length), [&](int64_t begin, int64_t end) {
      const PermutedAxes::Axis inner = axes.back();
      for (int64_t row = begin; row < end;) {
        int64_t rest = row / inner.size, from = 0;
        for (size_t i = axes.size() - 1; i-- > 0; rest /= axes[i].size) from += rest % axes[i].size * axes[i].step;
        const int64_t first = row % inner.size, last = std::min(inner.size, first + end - row);
        for (int64_t i = first; i < last; ++i, ++row)
          copy_row(out + row * length, in + (from + i * inner.step) * plan_.bytes, length, stream);
      }
      if (stream) finish_streaming();
    });
  }

  // Neighbouring tiles lie along the rows of the input.
  template <bool STREAM, class Code>
  void tiles(const void* in, void* out) const {
    const int64_t wide = kTileBytes / static_cast<int64_t>(sizeof(Code)), tall = kTileRows;
    const PermutedAxes::Axis axis_across = plan_.across, axis_down = plan_.down;
    const int64_t across = (axis_across.size + wide - 1) / wide, down = (axis_down.size + tall - 1) / tall;
    const int64_t outer = plan_.count / (axis_across.size * axis_down.size);
    const int64_t tile_bytes = std::min(wide, axis_across.size) * std::min(tall, axis_down.size) * plan_.bytes;
    parallel_for(
        outer * across * down, std::max<int64_t>(1, kGrainBytes / tile_bytes), [&](int64_t begin, int64_t end) {
          for (int64_t tile = begin; tile < end; ++tile) {
            const int64_t p = tile % across * wide, q = tile / across % down * tall;
            int64_t rest = tile / (down * across), from = q * axis_down.step + p, to = p * plan_.across_out + q;
            for (size_t i = plan_.outer.size(); i-- > 0; rest /= plan_.outer[i].size) {
              from += rest % plan_.outer[i].size * plan_.outer[i].in;
              to += rest % plan_.outer[i].size * plan_.outer[i].out;
            }
            transpose_block<STREAM>(static_cast<const Code*>(in) + from, axis_down.step, static_cast<Code*>(out) + to,
                                    plan_.across_out, std::min(tall, axis_down.size - q),
                                    std::min(wide, axis_across.size - p));
          }
          if constexpr (STREAM) finish_streaming();
        });
  }

  PermutedAxes plan_;
  bool stream_ = false;
};

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
