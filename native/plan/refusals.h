// What is said of values that an op refuses: alike on every device, and by the reference.
#pragma once
#include <cstdint>
#include <string>

namespace te {

// "fn: rule, got value at position p. wayOut". No position: a number.
inline std::string refused_value(const std::string& fn, const std::string& rule, int64_t value, int64_t position,
                                 const std::string& way_out) {
  std::string text = fn + ": " + rule + ", got " + std::to_string(value);
  if (position >= 0) text += " at position " + std::to_string(position);
  return text + "." + (way_out.empty() ? "" : " " + way_out);
}

inline std::string refused_index(const std::string& fn, int64_t index, int64_t position, int64_t size) {
  return refused_value(fn, "every index must be in [0, " + std::to_string(size) + ")", index, position,
                       "Clip the indices or mask them out first.");
}

// Positions of rope. float32 does not hold larger whole numbers.
inline constexpr int64_t kMaxRopePosition = int64_t{1} << 24;
inline std::string refused_rope_position(int64_t value, int64_t position) {
  return refused_value("rope", "every position must be in [-16777216, 16777216]", value, position,
                       "Count positions from the start of the sequence.");
}

}  // namespace te
