/** Fills of test inputs: the same for one seed, spread as they say, and rounded to their dtype. */
import { CaseBuilder, toFloat64 } from "@te/tensor/op";
import { describe, expect, test } from "vitest";
import { fillArray, generator } from "../src/index.js";

const c = new CaseBuilder();
const valuesOf = (fill: Parameters<typeof fillArray>[0], seed = "seed") => {
  const { dtype, data } = fillArray(fill, seed);
  return [...toFloat64(dtype, data)];
};
const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;

describe("fills", () => {
  test("are the same for the same seed and differ for others", () => {
    const fill = c.normal([64]);
    expect(valuesOf(fill)).toEqual(valuesOf(fill));
    expect(valuesOf(fill)).not.toEqual(valuesOf(fill, "another"));
  });

  test("normal has the given mean and deviation", () => {
    const values = valuesOf(c.normal([20000], { mean: 3, std: 0.5 }));
    expect(mean(values)).toBeCloseTo(3, 1);
    expect(Math.sqrt(mean(values.map((v) => (v - 3) ** 2)))).toBeCloseTo(0.5, 1);
  });

  test("uniform and integers stay in [low, high)", () => {
    const uniform = valuesOf(c.uniform([5000], { low: -2, high: 1 }));
    expect(Math.min(...uniform)).toBeGreaterThanOrEqual(-2);
    expect(Math.max(...uniform)).toBeLessThanOrEqual(1);
    expect(mean(uniform)).toBeCloseTo(-0.5, 1);
    expect(new Set(valuesOf(c.integers([500], { low: -1, high: 2 })))).toEqual(new Set([-1, 0, 1]));
  });

  test("bools are one with probability p", () => {
    expect(mean(valuesOf(c.bools([5000], { p: 0.2 })))).toBeCloseTo(0.2, 1);
  });

  test("values are rounded to the dtype", () => {
    expect(valuesOf(c.values([2], [1.001, 1000], "float8_e5m2"))).toEqual([1, 1024]);
    expect(() => fillArray(c.values([3], [1, 2]), "seed")).toThrow("needs 3 values, got 2");
  });
});

test("the generator is uniform", () => {
  const next = generator(1);
  const counts = new Array<number>(10).fill(0);
  for (let i = 0; i < 20000; i++) counts[Math.floor(next() * 10)]!++;
  for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(200);
});
