/** Which numbers an integer dtype holds as they are. */
import type { DType } from "./dtype.js";
import { isFloat } from "./dtype.js";
import { fail } from "./errors.js";
import { INTEGER_RANGE } from "./float-codes.js";

/** Throws unless an integer dtype, or bool, holds the number as it is. Float dtypes take every number, rounded. */
export function checkHolds(fn: string, what: string, value: number, dtype: DType, wayOut: string): void {
  if (isFloat(dtype)) return;
  const [low, high] = dtype === "bool" ? [0, 1] : INTEGER_RANGE[dtype as keyof typeof INTEGER_RANGE];
  if (!Number.isInteger(value) || value < low || value > high)
    fail("dtype", fn, `${what} must be an integer in [${low}, ${high}] for ${dtype}`, value, wayOut);
}
