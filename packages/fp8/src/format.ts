/** The two FP8 types of matrix products, and the formats that say which pass takes which. */
import { type DType, finfo } from "@te/tensor";
import { fail } from "@te/tensor/op";

/** The FP8 element types of matrix products. */
export type Float8 = Extract<DType, "float8_e4m3fn" | "float8_e5m2">;

/** Which FP8 type activations and weights take (forward), and which the gradients (backward). */
export interface FormatSpec {
  readonly name: "E4M3" | "E5M2" | "HYBRID";
  readonly forward: Float8;
  readonly backward: Float8;
}

/**
 * E4M3: float8_e4m3fn throughout (largest value 448). HYBRID: float8_e4m3fn forward, float8_e5m2 (largest value 57344)
 * for gradients. E5M2: float8_e5m2 throughout; no recipe takes it, because a product of two float8_e5m2 tensors does
 * not exist.
 */
export const Format = Object.freeze({
  E4M3: spec("E4M3", "float8_e4m3fn", "float8_e4m3fn"),
  E5M2: spec("E5M2", "float8_e5m2", "float8_e5m2"),
  HYBRID: spec("HYBRID", "float8_e4m3fn", "float8_e5m2"),
});

function spec(name: FormatSpec["name"], forward: Float8, backward: Float8): FormatSpec {
  return Object.freeze({ name, forward, backward });
}

/** Whether a dtype is one of the two of matrix products. */
export const isFloat8Dtype = (dtype: DType): dtype is Float8 => dtype === "float8_e4m3fn" || dtype === "float8_e5m2";

/** Throws unless dtype is float8_e4m3fn or float8_e5m2. */
export function checkFloat8(fn: string, what: string, dtype: DType): Float8 {
  if (isFloat8Dtype(dtype)) return dtype;
  return fail("dtype", fn, `${what} must be float8_e4m3fn or float8_e5m2`, dtype ?? String(dtype));
}

/** Largest finite value of an FP8 type: 448 or 57344. */
export const float8Max = (dtype: Float8): number => finfo(checkFloat8("float8Max", "dtype", dtype)).max;
