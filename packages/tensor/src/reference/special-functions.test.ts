/** Special functions against values of more digits than float64 holds, and at their ends. */
import { describe, expect, test } from "vitest";
import { erf, erfc, erfInv, integerPower, roundHalfEven } from "./special-functions.js";

// Rounded from values with 20 digits.
const ERF: readonly (readonly [number, number])[] = [
  [1e-10, 1.1283791670955126e-10],
  [0.1, 0.1124629160182849],
  [0.5, 0.5204998778130465],
  [1, 0.8427007929497149],
  [1.5, 0.9661051464753108],
  [2, 0.9953222650189527],
  [3, 0.9999779095030014],
];

describe("erf", () => {
  test.each(ERF)("at %d", (x, want) => {
    expect(Math.abs(erf(x) - want)).toBeLessThanOrEqual(want * 4e-16);
    expect(erf(-x)).toBe(-erf(x));
  });
  test("at the ends", () => {
    expect(erf(Number.POSITIVE_INFINITY)).toBe(1);
    expect(erf(Number.NEGATIVE_INFINITY)).toBe(-1);
    expect(erf(Number.NaN)).toBeNaN();
    expect(erf(-0)).toBe(-0);
  });
  test("erfc does not cancel", () => {
    expect(erfc(5) / 1.537459794428035e-12).toBeCloseTo(1, 13);
    expect(erfc(20) / 5.395865611607901e-176).toBeCloseTo(1, 12);
  });
});

describe("erfInv", () => {
  test.each([1e-12, 0.3, 0.7, 0.99, 0.999999, 1 - 2 ** -24, 1 - 2 ** -40])("erf(erfInv(%d)) comes back", (x) => {
    const y = erfInv(x);
    const slope = (2 / Math.sqrt(Math.PI)) * Math.exp(-y * y);
    const error = x < 0.5 ? erf(y) - x : 1 - x - erfc(y);
    expect(Math.abs(error / slope)).toBeLessThan(y * 1e-14);
    expect(erfInv(-x)).toBe(-y);
  });
  test("at and beyond the ends", () => {
    expect(erfInv(1)).toBe(Number.POSITIVE_INFINITY);
    expect(erfInv(-1)).toBe(Number.NEGATIVE_INFINITY);
    expect(erfInv(1.1)).toBeNaN();
  });
});

test("roundHalfEven", () => {
  expect([2.5, 3.5, -2.5, -0.4, 0.4, -0.5, 2 ** 52].map(roundHalfEven)).toEqual([2, 4, -2, -0, 0, -0, 2 ** 52]);
  expect(roundHalfEven(Number.NEGATIVE_INFINITY)).toBe(Number.NEGATIVE_INFINITY);
  expect(roundHalfEven(-0)).toBe(-0);
});

test("integerPower", () => {
  expect([integerPower(2, 31) | 0, integerPower(-1, -3), integerPower(5, -1), integerPower(0, 0)]).toEqual([
    -(2 ** 31),
    -1,
    0,
    1,
  ]);
});
