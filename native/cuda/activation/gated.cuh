// The product of activations over u [rows, slots, width], eight elements or one at a time; shared by gated_activation,
// its backward and its quantizing form.
#pragma once
#include <algorithm>

#include "cuda/activation/activation.cuh"
#include "cuda/context.h"
#include "cuda/octet.cuh"
#include "te/kernel.h"

namespace te::cuda {

constexpr int kGatedThreads = 256;

struct Gated : GatedProblem {
  // Octets of a row; what is left of it goes element by element. A row of several slots has octets where all of its
  // slots start at one.
  __host__ __device__ int64_t octets() const { return slots == 1 || width % kOctet == 0 ? width / kOctet : 0; }
  __host__ __device__ int64_t rest() const { return width - octets() * kOctet; }
};

// Blocks for the walk, at most as many as the GPU holds at once.
inline unsigned gated_blocks(const Gated& g) {
  const int64_t items = std::max(g.rows * g.octets(), g.rows * g.rest());
  const int64_t most = context().properties.multiProcessorCount * 8;
  return static_cast<unsigned>(std::clamp<int64_t>((items + kGatedThreads - 1) / kGatedThreads, 1, most));
}

// i / n; with 32 bits, which is much faster, where that is enough.
__device__ inline int64_t quotient(int64_t i, int64_t n, int64_t largest) {
  return largest <= UINT32_MAX ? static_cast<uint32_t>(i) / static_cast<uint32_t>(n) : i / n;
}

// The threads of the grid call octet(in_y, in_u) where eight elements of y start, and in slot 0 of u (slot a is a *
// width later), and element(in_y, in_u) for the elements in no octet.
template <class OctetBody, class ElementBody>
__device__ inline void for_gated(const Gated& g, const OctetBody& octet, const ElementBody& element) {
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const int64_t threads = static_cast<int64_t>(gridDim.x) * blockDim.x, skip = (g.slots - 1) * g.width;
  const int64_t per_row = g.octets(), octets = g.rows * per_row, rest = g.rest(), elements = g.rows * rest;
  for (int64_t i = thread; i < octets; i += threads)
    octet(i * kOctet, i * kOctet + (skip ? quotient(i, per_row, octets) * skip : 0));
  for (int64_t i = thread; i < elements; i += threads) {
    const int64_t row = quotient(i, rest, elements), in_y = row * g.width + per_row * kOctet + (i - row * rest);
    element(in_y, in_y + row * skip);
  }
}

// The walk of the forward pass: puts y, eight elements by put(in_y, y), one by put_one(in_y, y). Slots: how many, where
// all of their loads are to be under way together; 0 for any number.
template <int Slots, class Put, class PutOne>
__device__ inline void gated_forward(const Gated& g, const void* u, const Put& put, const PutOne& put_one) {
  for_gated(
      g,
      [&](int64_t in_y, int64_t in_u) {
        float x[kOctet], y[kOctet];
        Octet held[Slots > 0 ? Slots : 1];
#pragma unroll
        for (int a = 0; a < Slots; ++a) held[a] = load_octet(g.u, u, in_u + a * g.width);
#pragma unroll
        for (int a = 0; a < (Slots > 0 ? Slots : g.slots); ++a) {
          decode_octet(g.u, Slots > 0 ? held[Slots > 0 ? a : 0] : load_octet(g.u, u, in_u + a * g.width), x);
          apply_values(g.activation[a], x, g.limits, a > 0, y);
        }
        put(in_y, y);
      },
      [&](int64_t in_y, int64_t in_u) {
        float y[1];
        for (int a = 0; a < g.slots; ++a) {
          const float x[1] = {load_real(g.u, u, in_u + a * g.width)};
          apply_values(g.activation[a], x, g.limits, a > 0, y);
        }
        put_one(in_y, y[0]);
      });
}

}  // namespace te::cuda
