/** Checks that the FP8 ops share: dtypes before rounding, and scales of one number. */
import type { Aval, DType } from "@te/tensor";
import { expectDType, expectShape } from "@te/tensor/op";
import { checkFloat8 } from "../format.js";

/** The dtypes that are rounded to FP8 and that products return. */
export const HIGH_PRECISION: readonly DType[] = ["float32", "bfloat16", "float16"];

/** Throws unless every value is float32[1], as scales and amaxes are. */
export function expectScalars(fn: string, values: Readonly<Record<string, Aval>>): void {
  expectDType(fn, values, "float32");
  expectShape(fn, values, [1], "one number for the whole tensor");
}

/** Throws unless an op that rounds to FP8 was given a scale, float32[1], and an FP8 dtype. */
export function expectQuantization(fn: string, scale: Aval, dtype: DType): void {
  checkFloat8(fn, "params.dtype", dtype);
  expectScalars(fn, { scale });
}
