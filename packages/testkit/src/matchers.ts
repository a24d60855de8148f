/** Matchers for vitest: `expect(t).toBeAllclose(values)` and `expect(t).toBeClose(reference, row)`. */
import { formatAval } from "@te/tensor/op";
import { expect } from "vitest";
import { type Comparable, findDifference, valuesOf } from "./compare.js";
import { limitOf, type Row } from "./tolerance.js";

export interface AllcloseOptions {
  readonly rtol?: number;
  readonly atol?: number;
}

type Nested = number | boolean | readonly Nested[];

declare module "vitest" {
  interface Matchers<T = any> {
    /** Every element within atol + rtol·|expected|, as in numpy.allclose (1e-8, 1e-5). Nested arrays give the shape. */
    toBeAllclose(expected: Comparable | Nested, options?: AllcloseOptions): T;
    /** Within the limits of a row of the table for the dtype of the actual value. */
    toBeClose(reference: Comparable, row: Row): T;
  }
}

function flattenNested(given: Nested, into: number[] = []): { shape: number[]; values: number[] } {
  if (!Array.isArray(given)) {
    into.push(Number(given));
    return { shape: [], values: into };
  }
  const shapes = given.map((item) => flattenNested(item, into).shape);
  return { shape: [given.length, ...(shapes[0] ?? [])], values: into };
}

const isNested = (given: unknown): given is Nested => typeof given === "number" || Array.isArray(given);

function findAllcloseDifference(
  actual: Comparable | Nested,
  expected: Comparable | Nested,
  { rtol = 1e-5, atol = 1e-8 }: AllcloseOptions,
): string | undefined {
  const read = (given: Comparable | Nested) => (isNested(given) ? flattenNested(given) : valuesOf(given));
  const [t, r] = [read(actual), read(expected)];
  if (String(t.shape) !== String(r.shape)) return `expected shape [${r.shape}], got [${t.shape}]`;
  for (let i = 0; i < r.values.length; i++) {
    const [a, e] = [t.values[i]!, r.values[i]!];
    if (Object.is(a, e) || Math.abs(a - e) <= atol + rtol * Math.abs(e)) continue;
    return `element ${i} must be ${e} ± ${atol + rtol * Math.abs(e)}, got ${a}`;
  }
  return undefined;
}

const report = (found: string | undefined, opposite: string) => ({
  pass: found === undefined,
  message: () => found ?? opposite,
});

expect.extend({
  toBeAllclose(actual: Comparable | Nested, expected: Comparable | Nested, options: AllcloseOptions = {}) {
    return report(findAllcloseDifference(actual, expected, options), "expected values that are not close");
  },
  toBeClose(actual: Comparable, reference: Comparable, row: Row) {
    const { shape, dtype } = valuesOf(actual);
    const found = findDifference(actual, { ...valuesOf(reference), dtype }, limitOf(row, dtype));
    return report(found, `expected ${formatAval({ shape, dtype })} to be outside of the limits of ${row}`);
  },
});
