/** The op `sort`, and what is made of it: sort, argsort and topK. */
import { aval, normalizeAxis, stridesOf } from "../aval.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { withDefaults } from "../options.js";
import { loadFloat64 } from "../reference/host.js";
import { axisTerm, rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectIndexable, expectTensor } from "./check.js";
import { slice } from "./slice.js";
import { takeAlongAxis } from "./take.js";

/** values = x in order along `axis`, indices = where they came from (int32). Stable; NaN comes last either way. */
export const sortOp = defineOp("sort", {
  inputs: ["x"],
  outputs: ["values", "indices"],
  params: { axis: 0, descending: false },
  kinds: { axis: "size" },
  shape: ({ x }, { axis }) => {
    expectIndexable("sort", x, normalizeAxis("sort", axis, x.shape.length));
    return { values: x, indices: aval(x.shape, "int32") };
  },
  sharding: ({ x }, { axis }) => rule(axisTerm(x.shape, [axis])),
  evaluate({ x }, { axis, descending }, { values, indices }) {
    const at = normalizeAxis("sort", axis, x.shape.length);
    const keys = loadFloat64(x);
    const step = stridesOf(x.shape)[at]!;
    const length = x.shape[at]!;
    const order = new Int32Array(length);
    for (let row = 0; row * length < keys.length; row++) {
      const start = Math.floor(row / step) * step * length + (row % step);
      for (let k = 0; k < length; k++) order[k] = k;
      order.sort((i, j) => compareKeys(keys[start + i * step]!, keys[start + j * step]!, descending) || i - j);
      for (let k = 0; k < length; k++) {
        values.data[start + k * step] = x.data[start + order[k]! * step]!;
        indices.data[start + k * step] = order[k]!;
      }
    }
  },
  vjp({ inputs: { x }, outputs: { indices }, grads, params: { axis } }) {
    if (!isFloat(x.dtype) || !grads.values) return {};
    // Sorting a permutation gives its inverse.
    return { x: takeAlongAxis(grads.values, argsort(indices, axis), axis) };
  },
  cases: (c) => [
    ...c.product(
      { dtype: ["float32", "bfloat16", "int32", "uint32"] as const, axis: [0, 1], descending: [false, true] },
      ({ dtype }) => ({
        x:
          dtype === "float32" || dtype === "bfloat16"
            ? c.normal([5, 33], { dtype })
            : c.integers([5, 33], { dtype, low: 0, high: 12 }),
      }),
      ({ axis, descending }) => ({ axis, descending }),
    ),
    c.case(
      "NaN and infinities",
      { x: c.values([6], [Number.NaN, 1, Number.NEGATIVE_INFINITY, Number.NaN, Number.POSITIVE_INFINITY, -1]) },
      {},
      { gradient: false },
    ),
    ...c.product(
      { length: [20, 64, 1000], descending: [false, true] },
      ({ length }) => ({ x: c.integers([3, length], { dtype: "int32", low: 0, high: 12 }) }),
      ({ descending }) => ({ axis: 1, descending }),
    ),
    c.case("empty", { x: c.normal([3, 0]) }, { axis: 1 }),
    c.bench("rows of 1024", { x: c.normal([1024, 1024]) }, { axis: 1 }, { bytes: 3 * 2 ** 22 }),
  ],
});

/** Negative when a comes before b; NaN comes after everything. */
function compareKeys(a: number, b: number, descending: boolean): number {
  const aNaN = Number.isNaN(a);
  const bNaN = Number.isNaN(b);
  if (aNaN || bNaN) return Number(aNaN) - Number(bNaN);
  if (a === b) return 0;
  return a < b === descending ? 1 : -1;
}

/** Options of sort and argsort. */
export interface SortOptions {
  readonly descending?: boolean;
}

/** The elements in order along an axis (the last by default). Stable; NaN comes last. */
export const sort = (x: Tensor, axis = -1, options: SortOptions = {}): Tensor =>
  sorted("sort", x, axis, options).values;

/** The indices (int32) that would put x in order along an axis (the last by default). */
export const argsort = (x: Tensor, axis = -1, options: SortOptions = {}): Tensor =>
  sorted("argsort", x, axis, options).indices;

function sorted(fn: string, x: Tensor, axis: number, options: SortOptions): { values: Tensor; indices: Tensor } {
  expectTensor(fn, { x });
  const { descending } = withDefaults(fn, options, { descending: false });
  return sortOp({ x }, { axis: normalizeAxis(fn, axis, x.rank), descending });
}

/** The k largest elements along the last axis, largest first, and their indices. */
export function topK(x: Tensor, k: number): { values: Tensor; indices: Tensor } {
  expectTensor("topK", { x });
  const length = x.shape.at(-1) ?? fail("shape", "topK", "x must have at least one axis", x);
  if (!Number.isInteger(k) || k < 0 || k > length)
    fail("option", "topK", `k must be an integer in [0, ${length}]`, k ?? String(k));
  const { values, indices } = sorted("topK", x, -1, { descending: true });
  const zero = x.shape.map(() => 0);
  const limit = [...x.shape.slice(0, -1), k];
  return { values: slice(values, zero, limit), indices: slice(indices, zero, limit) };
}
