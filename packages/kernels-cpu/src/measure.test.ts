/** Measurements of the machine refuse times, dtypes and sizes that make no sense. */
import { expect, test } from "vitest";
import { copyBandwidth, productPeak, readBandwidth } from "./measure.js";

test.each([Number.NaN, Number.POSITIVE_INFINITY, -1, 1e9, "1", null, [1]])(
  "%s seconds are an error",
  (seconds: any) => {
    expect(() => productPeak("float32", seconds)).toThrow(/^productPeak: seconds must be a number in \[0, 60\], got /);
    expect(() => copyBandwidth(seconds)).toThrow(/^copyBandwidth: seconds must be a number in \[0, 60\], got /);
    expect(() => readBandwidth(seconds)).toThrow(/^readBandwidth: seconds must be a number in \[0, 60\], got /);
  },
);

test("other dtypes and sizes are errors", () => {
  expect(() => productPeak("int32" as any)).toThrow(/^productPeak: dtype must be float32 or bfloat16, got int32/);
  expect(() => productPeak({ toString: 5 } as any)).toThrow(/^productPeak: dtype must be float32 or bfloat16, got /);
  for (const bytes of [-1, 0.5, Number.NaN, "8"] as any[]) {
    expect(() => copyBandwidth(0, bytes)).toThrow(/^copyBandwidth: bytes must be a non-negative integer, got /);
    expect(() => readBandwidth(0, bytes)).toThrow(/^readBandwidth: bytes must be a non-negative integer, got /);
  }
});
