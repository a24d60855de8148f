import { type Aval, type DType, expectDType, expectShape } from "@te/tensor";

/** The dtypes that are rounded to FP8 and that products return. */
export const HIGH_PRECISION: readonly DType[] = ["float32", "bfloat16", "float16"];

/** Throws unless every value is float32[1], as scales and amaxes are. */
export function expectScalars(fn: string, values: Readonly<Record<string, Aval>>): void {
  expectDType(fn, values, "float32");
  expectShape(fn, values, [1], "one number for the whole tensor");
}
