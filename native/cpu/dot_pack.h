// Brings parts of operands to float32 or bfloat16 in the order that the inner loops of a product want.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/convert.h"
#include "cpu/dot_engine.h"
#include "cpu/squares.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// A rectangle of an operand. Element (outer, inner) is at outer * outer_step + inner * inner_step; one of the steps is 1.
struct DotView {
  DType dtype;
  const char* data;
  int64_t outer_step, inner_step;
  const char* at(int64_t outer, int64_t inner) const {
    return data + (outer * outer_step + inner * inner_step) * static_cast<int64_t>(dtype_bytes(dtype));
  }
};

typedef float Floats __attribute__((vector_size(kSquare * 4)));
inline Floats as_floats(Words words) { return reinterpret_cast<Floats>(words); }
inline Words as_words(Floats floats) { return reinterpret_cast<Words>(floats); }

// Small<E, M>::decode of convert.h on vectors.
template <int E, int M>
inline Words decode_words(Words code) {
  using Format = Small<E, M>;
  const Words shifted = code << Format::kShift;
  const Words smallest = Words{} + Format::kMinNormal;
  const Words subnormal = as_words(as_floats(shifted + Format::kMinNormal) - as_floats(smallest));
  return code < (1u << M) ? subnormal : shifted + Format::kRebias;
}

// kSquare successive numbers as the bits of float32.
template <DType T>
inline Words load_floats(const void* from) {
  if constexpr (T == DType::float32) {
    return load_words(from);
  } else if constexpr (T == DType::bfloat16) {
    return load_codes(static_cast<const uint16_t*>(from)) << 16;
  } else if constexpr (T == DType::float16) {
    float row[kSquare];
    float16_row_to_float(static_cast<const uint16_t*>(from), kSquare, row);
    return load_words(row);
  } else {
    const Words code = load_codes(static_cast<const uint8_t*>(from)), magnitude = code & 0x7f, sign = (code & 0x80) << 24;
    if constexpr (T == DType::float8_e4m3fn)
      return (magnitude == 0x7f ? Words{} + 0x7fc00000u : decode_words<4, 3>(magnitude)) | sign;
    else
      return (magnitude >= 0x7c ? ((magnitude & 3) << 21) | 0x7f800000u : decode_words<5, 2>(magnitude)) | sign;
  }
}

// 2 kSquare successive numbers as pairs of bfloat16 codes. Only for formats that bfloat16 holds exactly.
template <DType T>
inline Words load_pairs(const void* from) {
  if constexpr (T == DType::bfloat16) {
    return load_words(from);
  } else {
    uint16_t row[2 * kSquare];
    const uint8_t* codes = static_cast<const uint8_t*>(from);
#pragma omp simd
    for (int i = 0; i < 2 * kSquare; ++i) {
      const float x = T == DType::float8_e4m3fn ? float8_e4m3fn_to_float(codes[i]) : float8_e5m2_to_float(codes[i]);
      row[i] = static_cast<uint16_t>(float_bits(x) >> 16);
    }
    return load_words(row);
  }
}

// Calls body.operator()<T>() for the formats a product can have.
template <class Body>
void with_format(DType dtype, const Body& body) {
  switch (dtype) {
    case DType::bfloat16: return body.template operator()<DType::bfloat16>();
    case DType::float16: return body.template operator()<DType::float16>();
    case DType::float8_e4m3fn: return body.template operator()<DType::float8_e4m3fn>();
    case DType::float8_e5m2: return body.template operator()<DType::float8_e5m2>();
    default: return body.template operator()<DType::float32>();
  }
}

inline bool exact_in_bfloat16(DType dtype) { return dtype == DType::bfloat16 || is_float8(dtype); }

// Up to one vector's worth of numbers, the rest zero.
template <class Load>
inline Words load_partial(const void* from, int64_t bytes, const Load& load) {
  alignas(64) char copy[kSquare * 4] = {};
  std::memcpy(copy, from, static_cast<size_t>(bytes));
  return load(copy);
}

// Moves the `lines` x `length` rectangle whose lines are contiguous in the source to a target where they are columns:
// load(line, at, words) gives kSquare words of a line from `at` on, of which `words` are wanted (the others zero);
// store(at, line, words, square row) takes kSquare lines' words number `at`.
template <class Load, class Store>
void transpose_lines_of_words(int64_t lines, int64_t words, const Load& load, const Store& store) {
  for (int64_t line = 0; line < lines; line += kSquare) {
    for (int64_t at = 0; at < words; at += kSquare) {
      Words square[kSquare];
      if (line + kSquare <= lines && at + kSquare <= words) {
#pragma GCC unroll 16
        for (int i = 0; i < kSquare; ++i) square[i] = load(line + i, at, std::true_type{});
      } else {
        for (int i = 0; i < kSquare; ++i)
          square[i] = line + i < lines ? load(line + i, at, std::false_type{}) : Words{};
      }
      transpose_square(square);
#pragma GCC unroll 16
      for (int i = 0; i < kSquare; ++i) store(at + i, line, square[i]);
    }
  }
}

// --- left operand: rows x depth, row-major, rows `to_row` elements apart ------------------------------------------------

template <DType T>
void pack_left_floats(const DotView& view, int64_t rows, int64_t depth, float* to, int64_t to_row) {
  if (view.inner_step == 1) {
    for (int64_t i = 0; i < rows; ++i) {
      const char* from = view.at(i, 0);
      int64_t k = 0;
      for (; k + kSquare <= depth; k += kSquare)
        store_words(to + i * to_row + k, load_floats<T>(from + k * static_cast<int64_t>(dtype_bytes(T))));
      load_row(T, from + k * static_cast<int64_t>(dtype_bytes(T)), depth - k, to + i * to_row + k);
    }
    return;
  }
  const auto load = [&](int64_t k, int64_t i, auto whole) {
    if constexpr (whole.value) return load_floats<T>(view.at(i, k));
    const int64_t left = std::min<int64_t>(kSquare, rows - i) * static_cast<int64_t>(dtype_bytes(T));
    return load_partial(view.at(i, k), left, load_floats<T>);
  };
  const auto store = [&](int64_t i, int64_t k, Words words) {
    if (i >= rows) return;
    if (k + kSquare <= depth)
      store_words(to + i * to_row + k, words);
    else
      std::memcpy(to + i * to_row + k, &words, static_cast<size_t>(depth - k) * 4);
  };
  transpose_lines_of_words(depth, rows, load, store);
}

template <DType T>
void pack_left_bfloat16(const DotView& view, int64_t rows, int64_t depth, uint16_t* to, int64_t to_row) {
  if (view.inner_step == 1) {
    for (int64_t i = 0; i < rows; ++i) {
      const char* from = view.at(i, 0);
      uint16_t* line = to + i * to_row;
      int64_t k = 0;
      for (; k + 2 * kSquare <= depth; k += 2 * kSquare)
        store_words(line + k, load_pairs<T>(from + k * static_cast<int64_t>(dtype_bytes(T))));
      if (k == depth) continue;
      const int64_t left = depth - k;
      const Words words = load_partial(from + k * static_cast<int64_t>(dtype_bytes(T)),
                                       left * static_cast<int64_t>(dtype_bytes(T)), load_pairs<T>);
      std::memcpy(line + k, &words, static_cast<size_t>(left) * 2);
    }
    return;
  }
  // Two successive k of one row make a word.
  const auto upper = [&](int64_t k, int64_t i, auto whole) -> Words {
    if constexpr (whole.value) return load_floats<T>(view.at(i, k));
    if (k >= depth) return Words{};
    const int64_t left = std::min<int64_t>(kSquare, rows - i) * static_cast<int64_t>(dtype_bytes(T));
    return load_partial(view.at(i, k), left, load_floats<T>);
  };
  const auto load = [&](int64_t pair, int64_t i, auto whole) -> Words {
    if (2 * pair + 1 >= depth) return upper(2 * pair, i, std::false_type{}) >> 16;
    return (upper(2 * pair, i, whole) >> 16) | (upper(2 * pair + 1, i, whole) & 0xffff0000u);
  };
  const auto store = [&](int64_t i, int64_t pair, Words words) {
    if (i >= rows) return;
    const int64_t left = std::min<int64_t>(2 * kSquare, depth - 2 * pair);
    if (left == 2 * kSquare)
      store_words(to + i * to_row + 2 * pair, words);
    else
      std::memcpy(to + i * to_row + 2 * pair, &words, static_cast<size_t>(left) * 2);
  };
  transpose_lines_of_words((depth + 1) / 2, rows, load, store);
}

// --- right operand: depth x columns, in panels --------------------------------------------------------------------------

// Panels of float32. `outer` of the view is the column.
template <DType T>
void pack_right_floats(const DotView& view, int64_t depth, int64_t columns, const PanelLayout& layout, float* to) {
  constexpr int64_t kBytes = static_cast<int64_t>(dtype_bytes(T));
  const int64_t width = layout.width, panel = layout.width * layout.depth;
  if (view.outer_step == 1) {
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t p = 0; p < layout.panels; ++p) {
        const char* from = view.at(p * width, k);
        float* line = to + p * panel + k * width;
        const int64_t wide = std::min(width, columns - p * width);
        int64_t j = 0;
        for (; j + kSquare <= wide; j += kSquare) store_words(line + j, load_floats<T>(from + j * kBytes));
        if (j < wide) load_row(T, from + j * kBytes, wide - j, line + j);
        if (wide < width) std::memset(line + wide, 0, static_cast<size_t>(width - wide) * 4);
      }
    }
  } else {
    const auto load = [&](int64_t j, int64_t k, auto whole) {
      if constexpr (whole.value) return load_floats<T>(view.at(j, k));
      return load_partial(view.at(j, k), std::min<int64_t>(kSquare, depth - k) * kBytes, load_floats<T>);
    };
    const auto store = [&](int64_t k, int64_t j, Words words) {
      if (k >= depth) return;
      float* line = to + j / width * panel + k * width;
      const int64_t left = width - j % width;
      if (left >= kSquare)
        store_words(line + j % width, words);
      else
        std::memcpy(line + j % width, &words, static_cast<size_t>(left) * 4);
    };
    transpose_lines_of_words(columns, depth, load, store);
    // Columns of the last panel that no square reached.
    const int64_t reached = (columns + kSquare - 1) / kSquare * kSquare, all = layout.panels * width;
    for (int64_t k = 0; reached < all && k < depth; ++k)
      std::memset(to + (layout.panels - 1) * panel + k * width + (reached - (layout.panels - 1) * width), 0,
                  static_cast<size_t>(all - reached) * 4);
  }
  for (int64_t p = 0; p < layout.panels && depth < layout.depth; ++p)
    std::memset(to + p * panel + depth * width, 0, static_cast<size_t>((layout.depth - depth) * width) * 4);
}

// Panels of bfloat16: row-major, or with the pairs of successive k together.
template <DType T>
void pack_right_bfloat16(const DotView& view, int64_t depth, int64_t columns, const PanelLayout& layout, uint16_t* to) {
  constexpr int64_t kBytes = static_cast<int64_t>(dtype_bytes(T));
  const int64_t width = layout.width, panel = layout.width * layout.depth, stack = layout.stack;
  std::memset(to, 0, static_cast<size_t>(layout.size()) * 2);
  if (stack == 2 && view.outer_step == 1) {
    for (int64_t k = 0; k < depth; k += 2) {
      for (int64_t p = 0; p < layout.panels; ++p) {
        uint16_t* line = to + p * panel + k * width;
        const int64_t wide = std::min(width, columns - p * width);
        for (int64_t j = 0; j < wide; j += kSquare) {
          const bool whole = j + kSquare <= wide;
          const auto load = [&](int64_t at) -> Words {
            if (at >= depth) return Words{};
            const char* from = view.at(p * width + j, at);
            return whole ? load_floats<T>(from) : load_partial(from, (wide - j) * kBytes, load_floats<T>);
          };
          const Words words = (load(k) >> 16) | (load(k + 1) & 0xffff0000u);
          std::memcpy(line + 2 * j, &words, static_cast<size_t>(whole ? kSquare : wide - j) * 4);
        }
      }
    }
  } else if (stack == 2) {
    const auto load = [&](int64_t j, int64_t pair, auto whole) {
      if constexpr (whole.value) return load_pairs<T>(view.at(j, 2 * pair));
      return load_partial(view.at(j, 2 * pair), std::min<int64_t>(2 * kSquare, depth - 2 * pair) * kBytes, load_pairs<T>);
    };
    const auto store = [&](int64_t pair, int64_t j, Words words) {
      if (2 * pair >= depth) return;
      uint16_t* line = to + j / width * panel + 2 * pair * width;
      const int64_t left = std::min<int64_t>(kSquare, width - j % width);
      std::memcpy(line + j % width * 2, &words, static_cast<size_t>(left) * 4);
    };
    // With an odd depth the last word is half a pair; it counts as partial.
    transpose_lines_of_words(columns, (depth + 1) / 2, [&](int64_t j, int64_t pair, auto whole) {
      if constexpr (whole.value) {
        if (2 * (pair + kSquare) <= depth) return load(j, pair, std::true_type{});
      }
      return load(j, pair, std::false_type{});
    }, store);
  } else {
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t j = 0; j < columns; ++j) {
        float x;
        load_row(T, view.at(j, k), 1, &x);
        to[j / width * panel + k * width + j % width] = static_cast<uint16_t>(float_bits(x) >> 16);
      }
  }
}

inline void pack_left(const DotView& view, int64_t rows, int64_t depth, bool bfloat16, void* to, int64_t to_row) {
  with_format(view.dtype, [&]<DType T>() {
    if constexpr (T == DType::bfloat16 || is_float8(T))
      if (bfloat16) return pack_left_bfloat16<T>(view, rows, depth, static_cast<uint16_t*>(to), to_row);
    pack_left_floats<T>(view, rows, depth, static_cast<float*>(to), to_row);
  });
}

inline void pack_right(const DotView& view, int64_t depth, int64_t columns, bool bfloat16, const PanelLayout& layout,
                       void* to) {
  with_format(view.dtype, [&]<DType T>() {
    if constexpr (T == DType::bfloat16 || is_float8(T))
      if (bfloat16) return pack_right_bfloat16<T>(view, depth, columns, layout, static_cast<uint16_t*>(to));
    pack_right_floats<T>(view, depth, columns, layout, static_cast<float*>(to));
  });
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
