/** Parts of tensors at fixed places, and the reverse: slice and pad. */
import { aval, sameShape, stridesOf } from "../aval.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { expectList, expectNumber } from "../expect.js";
import { fromFloat64 } from "../float-codes.js";
import { checkHolds } from "../integers.js";
import type { HostArray } from "../op.js";
import { stridedCopy } from "../reference/strided.js";
import { axisTerm, rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectTensor } from "./check.js";
import { expandDims, reshape } from "./reshape.js";

const list = (values: readonly number[]): string => `[${values.join(",")}]`;

/** y = x[start : limit : stride], per axis. */
export const sliceOp = defineOp("slice", {
  inputs: ["x"],
  outputs: ["y"],
  changesNothing: (x, y) => sameShape(x.shape, y.shape),
  params: { start: [] as readonly number[], limit: [] as readonly number[], stride: [] as readonly number[] },
  moves: true,
  shape: ({ x }, { start, limit, stride }) => {
    const rank = x.shape.length;
    if (start.length !== rank || limit.length !== rank || stride.length !== rank) {
      fail(
        "shape",
        "slice",
        `start, limit and stride must have ${rank} entries, one per axis of x`,
        `${list(start)}, ${list(limit)}, ${list(stride)}`,
      );
    }
    const shape = x.shape.map((d, i) => {
      const [from, to, step] = [start[i]!, limit[i]!, stride[i]!];
      const whole = [from, to, step].every(Number.isInteger);
      if (!whole || from < 0 || to < from || to > d || step < 1) {
        fail(
          "index",
          "slice",
          `axis ${i} needs 0 ≤ start ≤ limit ≤ ${d} and stride ≥ 1`,
          `start ${from}, limit ${to}, stride ${step}`,
        );
      }
      return Math.ceil((to - from) / step);
    });
    return { y: aval(shape, x.dtype) };
  },
  sharding({ x }, { start, limit, stride }) {
    const cut = x.shape.flatMap((d, i) => (start[i] === 0 && limit[i] === d && stride[i] === 1 ? [] : [i]));
    const lengths = x.shape.map((_, i) => Math.ceil((limit[i]! - start[i]!) / stride[i]!));
    return rule(`${axisTerm(x.shape, cut)} -> ${axisTerm(lengths, cut)}`);
  },
  onShard({ x }, params, shard, op) {
    const { dims } = shard.output("y");
    return op({ x }, { ...params, limit: params.limit.map((to, i) => (dims[i]!.length > 0 ? x.shape[i]! : to)) });
  },
  evaluate({ x }, { start, stride }, { y }) {
    const strides = stridesOf(x.shape);
    const offset = start.reduce((sum, from, i) => sum + from * strides[i]!, 0);
    stridedCopy(
      y.shape,
      x.data,
      strides.map((s, i) => s * stride[i]!),
      offset,
      y.data,
      stridesOf(y.shape),
      0,
    );
  },
  vjp: ({ inputs: { x }, grads: { y }, params }) => (isFloat(x.dtype) ? { x: sliceAdjoint(y, x.shape, params) } : {}),
  cases: (c) => [
    ...c.product(
      {
        dtype: ["float32", "bfloat16", "float16", "int32"] as const,
        stride: [
          [1, 1],
          [2, 3],
        ],
      },
      ({ dtype }) => ({ x: dtype === "int32" ? c.integers([9, 33], { high: 99 }) : c.normal([9, 33], { dtype }) }),
      ({ stride }) => ({ start: [1, 2], limit: [8, 32], stride }),
    ),
    c.case("nothing", { x: c.normal([4, 5]) }, { start: [2, 0], limit: [2, 5], stride: [1, 1] }),
    c.case("last axis", { x: c.normal([31, 96]) }, { start: [0, 32], limit: [31, 64], stride: [1, 1] }),
    c.bench(
      "a third of packed projections",
      { x: c.normal([4096, 3, 512]) },
      { start: [0, 1, 0], limit: [4096, 2, 512], stride: [1, 1, 1] },
      { bytes: 2 ** 24 },
    ),
  ],
});

/** Puts a cotangent back where a slice took it from, zeros elsewhere. */
function sliceAdjoint(
  dy: Tensor,
  shape: readonly number[],
  { start, stride }: { start: readonly number[]; stride: readonly number[] },
): Tensor {
  let spread = dy;
  stride.forEach((step, axis) => {
    if (step > 1) spread = dilate(spread, axis, step);
  });
  return pad(
    spread,
    start,
    shape.map((d, i) => d - start[i]! - spread.shape[i]!),
  );
}

/** Puts step - 1 zeros between neighbours along an axis. */
function dilate(x: Tensor, axis: number, step: number): Tensor {
  const n = x.shape[axis]!;
  if (n <= 1) return x;
  const column = expandDims(x, axis + 1);
  const high = column.shape.map((_, i) => (i === axis + 1 ? step - 1 : 0));
  const joined = reshape(
    pad(
      column,
      high.map(() => 0),
      high,
    ),
    x.shape.map((d, i) => (i === axis ? d * step : d)),
  );
  return slice(
    joined,
    x.shape.map(() => 0),
    joined.shape.map((d, i) => (i === axis ? d - step + 1 : d)),
  );
}

/** y = x with low[i] and high[i] elements of `value` before and after axis i. */
export const padOp = defineOp("pad", {
  inputs: ["x"],
  outputs: ["y"],
  params: { low: [] as readonly number[], high: [] as readonly number[], value: 0 },
  shape: ({ x }, { low, high, value }) => {
    const bad = (d: number) => !Number.isInteger(d) || d < 0;
    if (low.length !== x.shape.length || high.length !== x.shape.length || low.some(bad) || high.some(bad)) {
      fail(
        "shape",
        "pad",
        `low and high must hold ${x.shape.length} non-negative integers, one per axis of x`,
        `${list(low)}, ${list(high)}`,
      );
    }
    checkHolds("pad", "value", value, x.dtype, "Cast x first.");
    return {
      y: aval(
        x.shape.map((d, i) => low[i]! + d + high[i]!),
        x.dtype,
      ),
    };
  },
  sharding({ x }, { low, high }) {
    const cut = x.shape.flatMap((_, i) => (low[i] === 0 && high[i] === 0 ? [] : [i]));
    const lengths = x.shape.map((d, i) => low[i]! + d + high[i]!);
    return rule(`${axisTerm(x.shape, cut)} -> ${axisTerm(lengths, cut)}`);
  },
  evaluate({ x }, { low, value }, { y }) {
    fillCode(y, value);
    const strides = stridesOf(y.shape);
    const offset = low.reduce((sum, n, i) => sum + n * strides[i]!, 0);
    stridedCopy(x.shape, x.data, stridesOf(x.shape), 0, y.data, strides, offset);
  },
  vjp: ({ inputs: { x }, grads: { y }, params: { low } }) =>
    isFloat(x.dtype)
      ? {
          x: slice(
            y,
            low,
            x.shape.map((d, i) => low[i]! + d),
          ),
        }
      : {},
  cases: (c) => [
    ...c.product(
      { dtype: ["float32", "bfloat16", "float16", "int32"] as const, value: [0, 3] },
      ({ dtype }) => ({ x: dtype === "int32" ? c.integers([3, 31], { high: 99 }) : c.normal([3, 31], { dtype }) }),
      ({ value }) => ({ low: [1, 0], high: [0, 2], value }),
    ),
    c.case("the first axis", { x: c.normal([3, 4, 5]) }, { low: [1, 0, 0], high: [2, 0, 0] }),
    c.case("from nothing", { x: c.normal([0, 2]) }, { low: [1, 1], high: [2, 0], value: -1 }),
    c.bench(
      "borders of images",
      { x: c.normal([64, 28, 28, 32]) },
      { low: [0, 1, 1, 0], high: [0, 1, 1, 0] },
      { bytes: 4 * 64 * 32 * (28 * 28 + 30 * 30) },
    ),
  ],
});

/** Fills an array with the code of a value. */
function fillCode(out: HostArray, value: number): void {
  if (out.data instanceof Float64Array) out.data.fill(value);
  else out.data.fill(fromFloat64(out.dtype, [value])[0]!);
}

/**
 * The part of x from start up to limit, with a stride, per axis. Negative starts and limits count from the end of the
 * axis; entries left out at the end take the whole axis.
 */
export function slice(
  x: Tensor,
  start: readonly number[],
  limit?: readonly number[],
  stride?: readonly number[],
): Tensor {
  expectTensor("slice", { x });
  for (const [name, numbers] of Object.entries({ start, limit, stride })) {
    const left = numbers === undefined && name !== "start";
    const rule = `${name} must be an array with a number for each axis`;
    if (!left && !Array.isArray(numbers)) fail("shape", "slice", rule, numbers ?? String(numbers));
    const odd = numbers?.slice(0, x.rank).some((n) => n !== undefined && typeof n !== "number");
    if (odd) fail("shape", "slice", rule, numbers);
  }
  const given = Math.max(start.length, limit?.length ?? 0, stride?.length ?? 0);
  if (given > x.rank) fail("shape", "slice", `there are ${x.rank} axes to slice`, `${given} entries`);
  const fromEnd = (n: number, d: number) => (n < 0 ? n + d : n);
  const from = x.shape.map((d, i) => fromEnd(start[i] ?? 0, d));
  const to = x.shape.map((d, i) => fromEnd(limit?.[i] ?? d, d));
  const step = x.shape.map((_, i) => stride?.[i] ?? 1);
  if (x.shape.every((d, i) => from[i] === 0 && to[i] === d && step[i] === 1)) return x;
  return sliceOp({ x }, { start: from, limit: to, stride: step }).y;
}

/** x with `low` elements before and `high` after each axis, holding `value`. */
export function pad(x: Tensor, low: readonly number[], high: readonly number[], value = 0): Tensor {
  expectTensor("pad", { x });
  expectList("pad", "integers, one for each axis", { low, high }, Number.isSafeInteger);
  expectNumber("pad", { value });
  const nothing = low.length === x.rank && high.length === x.rank && [...low, ...high].every((n) => n === 0);
  return nothing ? x : padOp({ x }, { low: [...low], high: [...high], value }).y;
}
