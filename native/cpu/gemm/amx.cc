// The matrix unit of x86 (AMX): products of tiles of 16 rows by 64 bytes.
// te: once
#include <algorithm>

#include "cpu/gemm/bfloat16_unit.h"

#if defined(__x86_64__)
#include <immintrin.h>

#include "te/kernel.h"

// On each function, not on the file: an inline function of the standard library must run on every processor.
#define TE_AMX __attribute__((target("amx-tile,amx-bf16")))

namespace te {
namespace {

constexpr int64_t kRows = 16, kColumns = 16, kDepth = 32;  // of one tile: rows, columns of sums, and depth

// Two tiles of A by two of B, four of sums: as much as the eight registers hold. Rows and columns beyond the first tile
// of each may be none.
struct Shape {
  int64_t rows, columns, depth;
  bool operator==(const Shape&) const = default;
};

struct alignas(64) Configuration {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};

  explicit Configuration(const Shape& shape) {
    const auto set = [&](int tile, int64_t tile_rows, int64_t bytes) {
      rows[tile] = static_cast<uint8_t>(tile_rows);
      row_bytes[tile] = static_cast<uint16_t>(tile_rows > 0 ? bytes : 0);
    };
    for (int i = 0; i < 2; ++i) {
      const int64_t high = std::clamp<int64_t>(shape.rows - i * kRows, 0, kRows);
      for (int j = 0; j < 2; ++j) {
        const int64_t wide = std::clamp<int64_t>(shape.columns - j * kColumns, 0, kColumns);
        set(2 * i + j, wide > 0 ? high : 0, wide * 4);
        set(6 + j, wide > 0 ? (shape.depth + 1) / 2 : 0, wide * 4);
      }
      set(4 + i, high, (shape.depth + 1) / 2 * 4);
    }
  }
};

// C += A B for one shape of tiles; `b` is one panel.
template <bool TWO_ROWS, bool TWO_COLUMNS>
TE_AMX inline void multiply_block(int64_t depth, const uint16_t* a, int64_t a_row, const uint16_t* b, float* c,
                                  int64_t c_row, bool add) {
  float* const below = c + kRows * c_row;
  const int64_t c_step = c_row * 4, a_step = a_row * 2;
  constexpr int64_t kLine = kPairPanel * 4;  // bytes of a line of pairs
  if (add) {
    _tile_loadd(0, c, c_step);
    if constexpr (TWO_COLUMNS) _tile_loadd(1, c + kColumns, c_step);
    if constexpr (TWO_ROWS) _tile_loadd(2, below, c_step);
    if constexpr (TWO_ROWS && TWO_COLUMNS) _tile_loadd(3, below + kColumns, c_step);
  } else {
    _tile_zero(0);
    if constexpr (TWO_COLUMNS) _tile_zero(1);
    if constexpr (TWO_ROWS) _tile_zero(2);
    if constexpr (TWO_ROWS && TWO_COLUMNS) _tile_zero(3);
  }
  for (int64_t k = 0; k < depth; k += kDepth) {
    const uint16_t* right = b + k * kPairPanel;
    _tile_loadd(4, a + k, a_step);
    _tile_loadd(6, right, kLine);
    _tile_dpbf16ps(0, 4, 6);
    if constexpr (TWO_COLUMNS) {
      _tile_loadd(7, right + 2 * kColumns, kLine);
      _tile_dpbf16ps(1, 4, 7);
    }
    if constexpr (TWO_ROWS) {
      _tile_loadd(5, a + kRows * a_row + k, a_step);
      _tile_dpbf16ps(2, 5, 6);
    }
    if constexpr (TWO_ROWS && TWO_COLUMNS) _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, c, c_step);
  if constexpr (TWO_COLUMNS) _tile_stored(1, c + kColumns, c_step);
  if constexpr (TWO_ROWS) _tile_stored(2, below, c_step);
  if constexpr (TWO_ROWS && TWO_COLUMNS) _tile_stored(3, below + kColumns, c_step);
}

// A part of the product whose rows, columns and depth are whole numbers of the shape's.
TE_AMX void multiply_part(const Bfloat16Product& p, const Shape& shape) {
  const Configuration configuration(shape);
  asm volatile("" ::"m"(configuration));  // the intrinsic's own operand is only its first bytes
  _tile_loadconfig(&configuration);
  const auto block = shape.rows > kRows
                         ? shape.columns > kColumns ? multiply_block<true, true> : multiply_block<true, false>
                     : shape.columns > kColumns ? multiply_block<false, true>
                                                : multiply_block<false, false>;
  for (int64_t j = 0; j < p.columns; j += shape.columns) {
    const uint16_t* panel = p.b + j / kPairPanel * p.b_panel;
    for (int64_t i = 0; i < p.rows; i += shape.rows)
      block(p.depth, p.a + i * p.a_row, p.a_row, panel, p.c + i * p.c_row + j, p.c_row, p.add);
  }
}

// Whole tiles first, then what is left in each direction with tiles of its size.
TE_AMX void multiply(const Bfloat16Product& p) {
  const auto parts = [](int64_t length, int64_t unit, const auto& body) {
    const int64_t whole = length / unit * unit;
    if (whole > 0) body(int64_t{0}, whole, unit);
    if (whole < length) body(whole, length - whole, length - whole);
  };
  parts(p.depth, kDepth, [&](int64_t k, int64_t deep, int64_t depth) {
    parts(p.columns, kPairPanel, [&](int64_t j, int64_t wide, int64_t columns) {
      parts(p.rows, 2 * kRows, [&](int64_t i, int64_t high, int64_t rows) {
        multiply_part(
            {high, wide, deep, p.a + i * p.a_row + k, p.a_row, p.b + j / kPairPanel * p.b_panel + k * kPairPanel,
             p.b_panel, p.c + i * p.c_row + j, p.c_row, p.add || k > 0},
            {rows, columns, depth});
      });
    });
  });
  _tile_release();
}

}  // namespace

const Bfloat16Unit* amx_unit() {
  static constexpr Bfloat16Unit unit = {"amx", multiply};
  return best_isa() >= Isa::amx ? &unit : nullptr;
}

}  // namespace te

#else

namespace te {
const Bfloat16Unit* amx_unit() { return nullptr; }
}  // namespace te

#endif
