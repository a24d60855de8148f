/** Windows whose place is a value: start is held inside so that the window fits, as in JAX. */
import { aval, stridesOf } from "../aval.js";
import { zerosLike } from "../create.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { expectArray } from "../expect.js";
import type { HostArray } from "../op.js";
import { stridedCopy } from "../reference/strided.js";
import { axisTerm, type RuleText, rule } from "../sharding/rule.js";
import { Tensor, tensor } from "../tensor.js";
import { stack } from "./arrange.js";
import { cast } from "./cast.js";
import { expectDType, expectSameDType, expectShape, expectTensor } from "./check.js";
import { scalar } from "./promote.js";
import { reshape } from "./reshape.js";
import { asIndices } from "./take.js";

/** Element offset of a window of `sizes` in an array of `shape`. */
function windowOffset(shape: readonly number[], sizes: readonly number[], start: HostArray): number {
  const strides = stridesOf(shape);
  return shape.reduce((sum, d, i) => sum + strides[i]! * Math.max(0, Math.min(start.data[i]!, d - sizes[i]!)), 0);
}

function checkWindow(fn: string, shape: readonly number[], sizes: readonly number[]): void {
  if (sizes.length !== shape.length || sizes.some((n, i) => !Number.isInteger(n) || n < 0 || n > shape[i]!)) {
    fail("shape", fn, `the window must fit into [${shape.join(",")}]`, sizes, "Give a length for each axis.");
  }
}

/** Axes that the window has all of may be split: it begins at 0 there. */
function windowRule(
  shape: readonly number[],
  sizes: readonly number[],
  text: (x: string, window: string) => string,
): RuleText {
  const cut = shape.flatMap((d, i) => (d === sizes[i] ? [] : [i]));
  return rule(text(axisTerm(shape, cut), axisTerm(sizes, cut)));
}

/** y = the window of x with `sizes` that begins at start int32[rank]. */
export const dynamicSliceOp = defineOp("dynamic_slice", {
  inputs: ["x", "start"],
  outputs: ["y"],
  params: { sizes: [] as readonly number[] },
  moves: true,
  shape: ({ x, start }, { sizes }) => {
    expectDType("dynamicSlice", { start }, "int32");
    expectShape("dynamicSlice", { start }, [x.shape.length], "one entry per axis of x");
    checkWindow("dynamicSlice", x.shape, sizes);
    return { y: aval(sizes, x.dtype) };
  },
  sharding: ({ x }, { sizes }) => windowRule(x.shape, sizes, (x, window) => `${x}, * -> ${window}`),
  onShard: ({ x, start }, _, shard, op) => op({ x, start }, { sizes: shard.shapeOf(shard.output("y")) }),
  evaluate({ x, start }, { sizes }, { y }) {
    stridedCopy(sizes, x.data, stridesOf(x.shape), windowOffset(x.shape, sizes, start), y.data, stridesOf(sizes), 0);
  },
  vjp: ({ inputs: { x, start }, grads }) =>
    isFloat(x.dtype) ? { x: dynamicUpdateSlice(zerosLike(x), grads.y, start) } : {},
  cases: (c) => [
    ...c.product(
      {
        dtype: ["float32", "bfloat16", "int32"] as const,
        start: [
          [1, 2],
          [-3, 40],
          [0, 0],
        ],
      },
      ({ dtype, start }) => ({
        x: dtype === "int32" ? c.integers([5, 33], { high: 99 }) : c.normal([5, 33], { dtype }),
        start: c.values([2], start, "int32"),
      }),
      () => ({ sizes: [3, 31] }),
    ),
    c.case(
      "all of an axis",
      { x: c.normal([5, 4, 3]), start: c.values([3], [1, 2, 0], "int32") },
      { sizes: [2, 4, 3] },
    ),
    c.bench(
      "4 MiB of 16",
      { x: c.normal([4096, 1024]), start: c.values([2], [1500, 0], "int32") },
      { sizes: [1024, 1024] },
      { bytes: 2 ** 23 },
    ),
  ],
});

/** y = x with the window that begins at start int32[rank] replaced by update. */
export const dynamicUpdateSliceOp = defineOp("dynamic_update_slice", {
  inputs: ["x", "update", "start"],
  outputs: ["y"],
  params: {},
  inPlace: [["x", "y"]],
  shape: ({ x, update, start }) => {
    expectDType("dynamicUpdateSlice", { start }, "int32");
    expectShape("dynamicUpdateSlice", { start }, [x.shape.length], "one entry per axis of x");
    expectSameDType("dynamicUpdateSlice", { x, update });
    checkWindow("dynamicUpdateSlice", x.shape, update.shape);
    return { y: x };
  },
  sharding: ({ x, update }) => windowRule(x.shape, update.shape, (x, window) => `${x}, ${window}, * -> ${x}`),
  evaluate({ x, update, start }, _, { y }) {
    if (y.data !== x.data) y.data.set(x.data);
    const sizes = update.shape;
    stridedCopy(
      sizes,
      update.data,
      stridesOf(sizes),
      0,
      y.data,
      stridesOf(x.shape),
      windowOffset(x.shape, sizes, start),
    );
  },
  vjp: ({ inputs: { x, update, start }, grads: { y } }) =>
    isFloat(x.dtype)
      ? { x: dynamicUpdateSlice(y, zerosLike(update), start), update: dynamicSlice(y, start, update.shape) }
      : {},
  cases: (c) => [
    ...c.product(
      {
        dtype: ["float32", "bfloat16", "int32"] as const,
        start: [
          [1, 2],
          [-3, 40],
        ],
      },
      ({ dtype, start }) => {
        const fill = (shape: readonly number[]) =>
          dtype === "int32" ? c.integers(shape, { high: 99 }) : c.normal(shape, { dtype });
        return { x: fill([5, 33]), update: fill([2, 31]), start: c.values([2], start, "int32") };
      },
    ),
    c.case("all of an axis", {
      x: c.normal([5, 4, 3]),
      update: c.normal([2, 4, 3]),
      start: c.values([3], [1, 2, 0], "int32"),
    }),
    c.bench(
      "new keys in a cache",
      { x: c.normal([8, 1024, 512]), update: c.normal([8, 1, 512]), start: c.values([3], [0, 700, 0], "int32") },
      {},
      { bytes: 2 ** 25 },
    ),
  ],
});

/** Where a window begins: an integer tensor with one entry per axis, or a list of integers and scalar tensors. */
export type WindowStart = Tensor | readonly (number | Tensor)[];

/** The start as int32. Numbers are held inside here already, since int32 would wrap those beyond it around. */
function startTensor(fn: string, start: WindowStart, x: Tensor, sizes: readonly number[]): Tensor {
  if (start instanceof Tensor) return asIndices(fn, start, "start");
  expectArray(fn, "numbers or scalar tensors, one for each axis, or a tensor", { start });
  if (start.length !== x.rank) fail("shape", fn, `start must have ${x.rank} entries, one for each axis of x`, start);
  const held = Array.from(start, (at, i) =>
    at instanceof Tensor
      ? reshape(asIndices(fn, at, `start[${i}]`), [])
      : heldStart(fn, at, i, x.shape[i]! - sizes[i]!),
  );
  if (held.every((at) => typeof at === "number")) return tensor(Int32Array.from(held as number[]));
  return stack(held.map((at) => (typeof at === "number" ? scalar(fn, at, "int32") : at)));
}

function heldStart(fn: string, at: unknown, axis: number, last: number): number {
  if (typeof at !== "number" || !Number.isInteger(at))
    fail("index", fn, `the start of axis ${axis} must be an integer or a scalar tensor`, at ?? String(at));
  const held = Math.max(0, Math.min(at, last));
  if (held >= 2 ** 31)
    fail("index", fn, `the start of axis ${axis} must be below 2^31, because it is int32`, at, "Slice x in two steps.");
  return held;
}

/** The window of x with `sizes` that begins at `start`, moved inside where it would reach out. */
export function dynamicSlice(x: Tensor, start: WindowStart, sizes: readonly number[]): Tensor {
  expectTensor("dynamicSlice", { x });
  expectArray("dynamicSlice", "integers, one for each axis", { sizes });
  checkWindow("dynamicSlice", x.shape, sizes);
  return dynamicSliceOp({ x, start: startTensor("dynamicSlice", start, x, sizes) }, { sizes: [...sizes] }).y;
}

/** x with the window at `start` replaced by `update`; the window is moved inside where it would reach out. */
export function dynamicUpdateSlice(x: Tensor, update: Tensor, start: WindowStart): Tensor {
  expectTensor("dynamicUpdateSlice", { x, update });
  checkWindow("dynamicUpdateSlice", x.shape, update.shape);
  const at = startTensor("dynamicUpdateSlice", start, x, update.shape);
  return dynamicUpdateSliceOp({ x, update: cast(update, x.dtype), start: at }).y;
}
