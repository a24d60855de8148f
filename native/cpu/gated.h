// The product of activations over u [rows, A, F], piece by piece; shared by gated_activation and its quantizing form.
#pragma once
#include "cpu/activation.h"

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

inline constexpr int64_t kGatedPiece = 1024;
struct GatedShape : GatedProblem {
  int64_t pieces_of_row() const { return (width + kGatedPiece - 1) / kGatedPiece; }
  int64_t pieces() const { return rows * pieces_of_row(); }
  int64_t parts() const { return parts_for_team(pieces(), slots * std::min(width, kGatedPiece)); }
};

// One piece of a row: where it starts in y, and where its slot 0 starts in u (slot a starts a * width later).
struct GatedPiece {
  int64_t n, in_y, in_u;
};

template <class Body>
inline void for_pieces(const GatedShape& s, int64_t begin, int64_t end, const Body& body) {
  const int64_t per_row = std::max<int64_t>(s.pieces_of_row(), 1);
  for (int64_t piece = begin; piece < end; ++piece) {
    const int64_t row = piece / per_row, first = piece % per_row * kGatedPiece;
    body(GatedPiece{std::min(kGatedPiece, s.width - first), row * s.width + first, row * s.slots * s.width + first});
  }
}

// The walk over pieces [begin, end) of y, in numbers of type T: those of u, or float32, to which pieces are converted.
// Exact enough for results of type E. put(act, x, before, piece) computes the last activation and the product (the rest
// as value_row has it) and gives it to the writer.
template <DType T, DType E, class Put>
inline void gated_forward(const GatedShape& s, const void* u, const RowWriter& writer, int64_t begin, int64_t end,
                          const Put& put) {
  alignas(64) Stored<T> decoded[kGatedPiece];
  alignas(64) float product[kGatedPiece];
  for_pieces(s, begin, end, [&](const GatedPiece& piece) {
    for (int64_t a = 0; a < s.slots; ++a) {
      const Stored<T>* x = row_in(s.u, u, piece.in_u + a * s.width, piece.n, decoded);
      const float* before = a > 0 ? product : nullptr;
      with_activation(s.activation[a], [&](auto act) {
        if (a + 1 < s.slots)
          value_row<act(), T, E, false>(x, piece.n, before, s.limits, product, 0);
        else
          put(act, x, before, piece);
      });
    }
  });
  writer.finish();
}

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
