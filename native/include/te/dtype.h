// Storage formats. The names are JAX's; the order is the wire order between TypeScript and native code.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace te {

enum class DType : uint8_t {
  float32,
  bfloat16,
  float16,
  float8_e4m3fn,
  float8_e5m2,
  float8_e8m0fnu,
  int32,
  uint32,
  uint8,
  boolean,
  float64,
};

inline constexpr size_t dtype_bytes(DType t) {
  switch (t) {
    case DType::float64:
      return 8;
    case DType::float32:
    case DType::int32:
    case DType::uint32:
      return 4;
    case DType::bfloat16:
    case DType::float16:
      return 2;
    default:
      return 1;
  }
}

const char* dtype_name(DType t);
bool dtype_from_name(const std::string& name, DType* out);

inline constexpr bool is_float8(DType t) { return t == DType::float8_e4m3fn || t == DType::float8_e5m2; }

}  // namespace te
