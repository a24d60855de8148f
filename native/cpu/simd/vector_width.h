// The vectors of the instruction set that a file is compiled for.
#pragma once

#ifndef TE_ISA_NAMESPACE
#define TE_ISA_NAMESPACE isa_scalar
#endif

namespace te {
namespace TE_ISA_NAMESPACE {
namespace {

// 32-bit numbers of a vector.
#if defined(__AVX512F__)
inline constexpr int kLanes = 16;
#elif defined(__AVX2__)
inline constexpr int kLanes = 8;
#else
inline constexpr int kLanes = 4;
#endif

}  // namespace
}  // namespace TE_ISA_NAMESPACE
}  // namespace te
