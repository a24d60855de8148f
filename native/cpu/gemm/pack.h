// Brings parts of operands to float32 or bfloat16 in the order that the inner loops of a product want.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/gemm/tile.h"
#include "cpu/simd/convert.h"
#include "cpu/simd/register_transpose.h"
#include "cpu/simd/word_formats.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// A rectangle of an operand. Element (outer, inner) is at outer * outer_step + inner * inner_step; one of the steps
// is 1.
struct DotView {
  DType dtype;
  const char* data;
  int64_t outer_step, inner_step;
  const char* at(int64_t outer, int64_t inner) const {
    return data + (outer * outer_step + inner * inner_step) * static_cast<int64_t>(dtype_bytes(dtype));
  }
  DotView from(int64_t outer, int64_t inner) const { return {dtype, at(outer, inner), outer_step, inner_step}; }
};

inline bool exact_in_bfloat16(DType dtype) { return dtype == DType::bfloat16 || is_float8(dtype); }

// Up to one vector's worth of numbers, the rest zero.
template <class Load>
inline Words load_partial(const void* from, int64_t bytes, const Load& load) {
  alignas(64) char copy[kSquare * 4] = {};
  std::memcpy(copy, from, static_cast<size_t>(bytes));
  return load(copy);
}

// Transposes a rectangle of `lines` contiguous runs of `words` words. load(line, at, whole) gives kSquare words of a
// line from `at` on; store(at, line, square, whole) takes the transposed square, whose row i is word at + i of kSquare
// lines. `whole` says whether the square lies inside the rectangle; otherwise load is asked for existing lines only and
// fills up with zeros, and store drops what lies outside. Blocks of 64 x 64 suit the first-level cache and the
// prefetcher.
template <class Load, class Store>
void transpose_words(int64_t lines, int64_t words, const Load& load, const Store& store) {
  constexpr int64_t kBlock = 64;
  const auto square_at = [&](int64_t line, int64_t at) {
    Words square[kSquare];
    if (line + kSquare <= lines && at + kSquare <= words) {
#pragma GCC unroll 16
      for (int i = 0; i < kSquare; ++i) square[i] = load(line + i, at, std::true_type{});
      transpose_square(square);
      store(at, line, square, std::true_type{});
    } else {
      for (int i = 0; i < kSquare; ++i) square[i] = line + i < lines ? load(line + i, at, std::false_type{}) : Words{};
      transpose_square(square);
      store(at, line, square, std::false_type{});
    }
  };
  for (int64_t line = 0; line < lines; line += kBlock)
    for (int64_t at = 0; at < words; at += kBlock)
      for (int64_t l = line; l < std::min(lines, line + kBlock); l += kSquare)
        for (int64_t w = at; w < std::min(words, at + kBlock); w += kSquare) square_at(l, w);
}

// Stores rows of a square at to, to + step, ...: `rows` of them and `bytes` of each, or all when `whole`.
template <class Whole>
inline void store_square(void* to, int64_t step_bytes, const Words (&square)[kSquare], int64_t rows, int64_t bytes,
                         Whole) {
  char* at = static_cast<char*>(to);
  if constexpr (Whole::value) {
#pragma GCC unroll 16
    for (int i = 0; i < kSquare; ++i) store_words(at + i * step_bytes, square[i]);
  } else {
    for (int64_t i = 0; i < std::min<int64_t>(rows, kSquare); ++i)
      std::memcpy(at + i * step_bytes, &square[i], static_cast<size_t>(std::min<int64_t>(bytes, kSquare * 4)));
  }
}

// kSquare numbers from (outer, inner) on along the contiguous direction, of which `left` exist.
template <DType T, class Whole>
inline Words load_some(const char* from, int64_t left, Whole) {
  if constexpr (Whole::value) return load_floats<T>(from);
  return load_partial(from, std::min<int64_t>(kSquare, left) * static_cast<int64_t>(dtype_bytes(T)), load_floats<T>);
}

// --- left operand: rows x depth, row-major, rows `to_row` elements apart -------------------------------------------

template <DType T>
void pack_left_floats(const DotView& view, int64_t rows, int64_t depth, float* to, int64_t to_row) {
  constexpr int64_t kBytes = static_cast<int64_t>(dtype_bytes(T));
  if (view.inner_step == 1) {
    for (int64_t i = 0; i < rows; ++i) {
      const char* from = view.at(i, 0);
      int64_t k = 0;
      for (; k + kSquare <= depth; k += kSquare) store_words(to + i * to_row + k, load_floats<T>(from + k * kBytes));
      load_row(T, from + k * kBytes, depth - k, to + i * to_row + k);
    }
    return;
  }
  transpose_words(
      depth, rows, [&](int64_t k, int64_t i, auto whole) { return load_some<T>(view.at(i, k), rows - i, whole); },
      [&](int64_t i, int64_t k, const auto& square, auto whole) {
        store_square(to + i * to_row + k, to_row * 4, square, rows - i, (depth - k) * 4, whole);
      });
}

template <DType T>
void pack_left_bfloat16(const DotView& view, int64_t rows, int64_t depth, uint16_t* to, int64_t to_row) {
  constexpr int64_t kBytes = static_cast<int64_t>(dtype_bytes(T));
  if (view.inner_step == 1) {
    for (int64_t i = 0; i < rows; ++i) {
      const char* from = view.at(i, 0);
      uint16_t* line = to + i * to_row;
      int64_t k = 0;
      for (; k + 2 * kSquare <= depth; k += 2 * kSquare) store_words(line + k, load_pairs<T>(from + k * kBytes));
      if (k == depth) continue;
      const Words words = load_partial(from + k * kBytes, (depth - k) * kBytes, load_pairs<T>);
      std::memcpy(line + k, &words, static_cast<size_t>(depth - k + 1) / 2 * 4);
    }
    return;
  }
  transpose_words((depth + 1) / 2, rows,
                  [&](int64_t pair, int64_t i, auto whole) {
                    const Words low = load_some<T>(view.at(i, 2 * pair), rows - i, whole);
                    if (2 * pair + 1 == depth) return pair_up(low, Words{});
                    return pair_up(low, load_some<T>(view.at(i, 2 * pair + 1), rows - i, whole));
                  },
                  [&](int64_t i, int64_t pair, const auto& square, auto whole) {
                    const int64_t left = ((depth + 1) / 2 - pair) * 4;  // bytes
                    store_square(to + i * to_row + 2 * pair, to_row * 2, square, rows - i, left, whole);
                  });
}

// --- right operand: depth x columns, in panels; `outer` of the view is the column ----------------------------------

// Lines of a panel from (k, p * width) on; what lies beyond the columns becomes zero.
template <DType T>
void pack_right_floats(const DotView& view, int64_t depth, int64_t columns, const PanelLayout& layout, float* to) {
  constexpr int64_t kBytes = static_cast<int64_t>(dtype_bytes(T)), kRows = 16;
  const int64_t width = layout.width, panel = layout.width * layout.depth;
  for (int64_t p = 0; p < layout.panels; ++p) {
    const int64_t wide = std::min(width, columns - p * width);
    if (wide < width) std::memset(to + p * panel, 0, static_cast<size_t>(panel) * 4);
    if (depth < layout.depth)
      std::memset(to + p * panel + depth * width, 0, static_cast<size_t>((layout.depth - depth) * width) * 4);
  }
  if (view.outer_step == 1) {
    for (int64_t from_k = 0; from_k < depth; from_k += kRows) {
      for (int64_t p = 0; p < layout.panels; ++p) {
        const int64_t wide = std::min(width, columns - p * width);
        for (int64_t k = from_k; k < std::min(depth, from_k + kRows); ++k) {
          const char* from = view.at(p * width, k);
          float* line = to + p * panel + k * width;
          int64_t j = 0;
          for (; j + kSquare <= wide; j += kSquare) store_words(line + j, load_floats<T>(from + j * kBytes));
          if (j < wide) load_row(T, from + j * kBytes, wide - j, line + j);
        }
      }
    }
    return;
  }
  for (int64_t p = 0; p < layout.panels; ++p) {
    const int64_t wide = std::min(width, columns - p * width);
    const DotView part = view.from(p * width, 0);
    float* panel_at = to + p * panel;
    transpose_words(
        wide, depth, [&](int64_t j, int64_t k, auto whole) { return load_some<T>(part.at(j, k), depth - k, whole); },
        [&](int64_t k, int64_t j, const auto& square, auto whole) {
          store_square(panel_at + k * width + j, width * 4, square, depth - k, (wide - j) * 4, whole);
        });
  }
}

// The bfloat16 codes of kSquare successive numbers, one a word.
template <DType T>
inline Words load_codes_of(const void* from) {
  if constexpr (T == DType::bfloat16) return load_codes(static_cast<const uint16_t*>(from));
  return load_floats<T>(from) >> 16;
}

// Panels of pairs: word (k / 2, j) holds the codes of k and k + 1.
template <DType T>
void pack_right_pairs(const DotView& view, int64_t depth, int64_t columns, const PanelLayout& layout, uint16_t* to) {
  constexpr int64_t kBytes = static_cast<int64_t>(dtype_bytes(T));
  const int64_t width = layout.width, panel = layout.width * layout.depth;
  for (int64_t p = 0; p < layout.panels; ++p) {
    const int64_t wide = std::min(width, columns - p * width);
    const DotView part = view.from(p * width, 0);
    uint16_t* panel_at = to + p * panel;
    if (wide < width) std::memset(panel_at, 0, static_cast<size_t>(panel) * 2);
    const int64_t full = (depth + 1) / 2 * 2;  // rows that the loops below write
    if (full < layout.depth)
      std::memset(panel_at + full * width, 0, static_cast<size_t>((layout.depth - full) * width) * 2);
    if (part.outer_step == 1) {
      for (int64_t k = 0; k < depth; k += 2) {
        for (int64_t j = 0; j < wide; j += kSquare) {
          const auto load = [&](int64_t at) {
            if (at == depth) return Words{};
            if (j + kSquare <= wide) return load_codes_of<T>(part.at(j, at));
            return load_partial(part.at(j, at), (wide - j) * kBytes, load_codes_of<T>);
          };
          const Words words = load(k) | (load(k + 1) << 16);
          const int64_t some = std::min<int64_t>(kSquare, wide - j);
          if (some == kSquare)
            store_words(panel_at + k * width + 2 * j, words);
          else
            std::memcpy(panel_at + k * width + 2 * j, &words, static_cast<size_t>(some) * 4);
        }
      }
      continue;
    }
    transpose_words(
        wide, (depth + 1) / 2,
        [&](int64_t j, int64_t pair, auto whole) {
          const int64_t left = depth - 2 * pair;  // an odd depth ends within a word
          if (whole && left >= 2 * kSquare) return load_pairs<T>(part.at(j, 2 * pair));
          return load_partial(part.at(j, 2 * pair), std::min<int64_t>(2 * kSquare, left) * kBytes, load_pairs<T>);
        },
        [&](int64_t pair, int64_t j, const auto& square, auto whole) {
          store_square(panel_at + 2 * pair * width + 2 * j, width * 4, square, (depth + 1) / 2 - pair, (wide - j) * 4,
                       whole);
        });
  }
}

// To float32, or to bfloat16 codes when `bfloat16`: there an odd depth is followed by a zero.
inline void pack_left(const DotView& view, int64_t rows, int64_t depth, bool bfloat16, void* to, int64_t to_row) {
  with_format(view.dtype, [&]<DType T>() {
    if constexpr (T == DType::bfloat16 || is_float8(T))
      if (bfloat16) return pack_left_bfloat16<T>(view, rows, depth, static_cast<uint16_t*>(to), to_row);
    pack_left_floats<T>(view, rows, depth, static_cast<float*>(to), to_row);
  });
}

// To floats, or to pairs of bfloat16 codes, as the layout stacks them.
inline void pack_right(const DotView& view, int64_t depth, int64_t columns, const PanelLayout& layout, void* to) {
  with_format(view.dtype, [&]<DType T>() {
    if constexpr (T == DType::bfloat16 || is_float8(T))
      if (layout.stack == 2) return pack_right_pairs<T>(view, depth, columns, layout, static_cast<uint16_t*>(to));
    pack_right_floats<T>(view, depth, columns, layout, static_cast<float*>(to));
  });
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
