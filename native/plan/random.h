// What the ops of random bits ask for.
#pragma once
#include <string>

#include "plan/draw.h"
#include "te/kernel.h"

namespace te {

inline bool is_random_key(const Node& node, std::string* why) {
  const bool good = node.inputs[0].dtype == DType::uint32 && node.inputs[0].size() == 2;
  if (!good) *why = "the key is not uint32[2]";
  return good;
}

// width: bits of each number, 8 as uint8, 16 or 32 as uint32. draw: the part of the numbers that is wanted.
inline bool read_random_bits(const Node& node, int64_t* width, Draw* draw, std::string* why) {
  if (!node.params.only({"shape", "width", "of", "start"}, why) || !is_random_key(node, why)) return false;
  if (!read_draw(node.outputs[0].shape, node.params.integers("of"), node.params.integers("start"), draw, why))
    return false;
  *width = node.params.integer("width", 32);
  const DType dtype = node.outputs[0].dtype;
  if (*width == 8 ? dtype == DType::uint8 : (*width == 16 || *width == 32) && dtype == DType::uint32) return true;
  *why = "width " + std::to_string(*width) + " in " + dtype_name(dtype);
  return false;
}

inline bool read_random_split(const Node& node, std::string* why) {
  return node.params.only({"count"}, why) && is_random_key(node, why);
}

inline bool read_random_fold_in(const Node& node, std::string* why) {
  if (!node.params.only({}, why) || !is_random_key(node, why)) return false;
  const bool good = node.inputs[1].dtype == DType::uint32 && node.inputs[1].size() == 1;
  if (!good) *why = "data is not uint32[]";
  return good;
}

}  // namespace te
