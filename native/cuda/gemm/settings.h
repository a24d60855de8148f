// What users may say about products, by environment variables.
#pragma once
#include <string>

namespace te::cuda {

struct ProductSettings {
  // Whether float32 operands may be rounded to TF32 (10 bits of mantissa) on their way into the tensor cores.
  bool tf32 = false;
  // Whether FP8 products add up in float32 throughout, which the tensor cores do more slowly.
  bool precise_fp8 = false;
  enum class Tune { no_file, read, time } tune = Tune::read;
  std::string tune_file;  // "" where there is no place for it
};

// Read once. TE_MATMUL_PRECISION, as in JAX: "highest" is float32, "high" and "default" are TF32; where it is not set,
// "highest", so that results agree with those of other devices. TE_FP8_ACCUMULATION: "fast" (where not set) or
// "precise"; products with an operand of float8_e5m2, which are those of gradients, are always precise. TE_TUNE: "1"
// times what cuBLASLt offers for each product at its first run and stores the best in TE_TUNE_FILE; "0" (where not set)
// takes what the file has; "off" leaves it alone.
const ProductSettings& product_settings();

}  // namespace te::cuda
