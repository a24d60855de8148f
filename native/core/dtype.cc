// The names of the storage formats.
#include "te/dtype.h"

namespace te {
namespace {
constexpr const char* kNames[] = {"float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2", "float8_e8m0fnu",
                                  "int32",   "uint32",   "uint8",   "bool",          "float64"};
}  // namespace

const char* dtype_name(DType t) { return kNames[static_cast<int>(t)]; }

bool dtype_from_name(const std::string& name, DType* out) {
  for (int i = 0; i < static_cast<int>(std::size(kNames)); ++i) {
    if (name == kNames[i]) {
      *out = static_cast<DType>(i);
      return true;
    }
  }
  return false;
}

}  // namespace te
