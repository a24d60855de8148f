/** Ops that change the shape and keep the elements: reshape, transpose, broadcast_to, and functions made of them. */
import {
  aval,
  broadcastShapes,
  checkShape,
  MAX_RANK,
  normalizeAxes,
  normalizeAxis,
  sameAval,
  sameShape,
  sizeOf,
  stridesOf,
} from "../aval.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { expectArray, expectNumbers } from "../expect.js";
import { broadcastStrides } from "../reference/host.js";
import { stridedCopy } from "../reference/strided.js";
import { axisTerm, elementwiseRule, rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectTensor } from "./check.js";
import { sumTo } from "./promote.js";
import { reshapeRule } from "./reshape-rule.js";

const MOVED = ["float32", "bfloat16", "float8_e4m3fn", "int32", "bool"] as const;

/** y = the elements of x, in order, under another shape. */
export const reshapeOp = defineOp("reshape", {
  inputs: ["x"],
  outputs: ["y"],
  changesNothing: sameAval,
  params: { shape: [] as readonly number[] },
  moves: true,
  shape: ({ x }, { shape }) => {
    checkShape("reshape", shape);
    if (sizeOf(shape) !== sizeOf(x.shape)) {
      fail(
        "shape",
        "reshape",
        `[${shape.join(",")}] has ${sizeOf(shape)} elements and must have ${sizeOf(x.shape)}`,
        x,
      );
    }
    return { y: aval(shape, x.dtype) };
  },
  sharding: ({ x }, { shape }) => reshapeRule(x.shape, shape),
  onShard: ({ x }, _, shard) => ({ y: reshape(x, shard.shapeOf(shard.output("y"))) }),
  evaluate: ({ x }, _, { y }) => y.data.set(x.data),
  view: true,
  vjp: ({ inputs: { x }, grads }) => (isFloat(x.dtype) ? { x: reshape(grads.y, x.shape) } : {}),
  cases: (c) => [
    ...c.product(
      { dtype: MOVED },
      ({ dtype }) => ({ x: dtype === "bool" ? c.bools([6, 31]) : c.uniform([6, 31], { dtype, low: 1, high: 9 }) }),
      () => ({ shape: [31, 3, 2] }),
    ),
    c.case("joined heads", { x: c.normal([2, 5, 4, 8]) }, { shape: [10, 32] }),
    c.case("split heads", { x: c.normal([6, 12]) }, { shape: [2, 3, 1, 4, 3] }),
    c.case("axes with a common divisor", { x: c.normal([4, 6, 5]) }, { shape: [8, 3, 5] }),
    c.case("axes that meet again", { x: c.normal([2, 3, 5]) }, { shape: [3, 2, 5] }),
    c.case("to no axes", { x: c.normal([1, 1]) }, { shape: [] }),
    c.case("empty", { x: c.normal([0, 5]) }, { shape: [7, 0] }),
  ],
});

/** y[i_perm[0], i_perm[1], …] = x[i_0, i_1, …]: axis k of y is axis perm[k] of x. */
export const transposeOp = defineOp("transpose", {
  inputs: ["x"],
  outputs: ["y"],
  changesNothing: (_, __, { perm }) => perm.every((axis, i) => axis === i),
  params: { perm: [] as readonly number[] },
  moves: true,
  shape: ({ x }, { perm }) => {
    const sorted = [...perm].sort((a, b) => a - b);
    if (perm.length !== x.shape.length || sorted.some((axis, i) => axis !== i)) {
      fail(
        "shape",
        "transpose",
        `perm must hold each axis of x (0 to ${x.shape.length - 1}) once`,
        `[${perm.join(", ")}]`,
      );
    }
    return {
      y: aval(
        perm.map((axis) => x.shape[axis]!),
        x.dtype,
      ),
    };
  },
  sharding({ x }, { perm }) {
    const names = axisTerm(x.shape).split(" ");
    return rule(`${names.join(" ")} -> ${perm.map((axis) => names[axis]).join(" ")}`);
  },
  evaluate({ x }, { perm }, { y }) {
    const strides = stridesOf(x.shape);
    stridedCopy(
      y.shape,
      x.data,
      perm.map((axis) => strides[axis]!),
      0,
      y.data,
      stridesOf(y.shape),
      0,
    );
  },
  vjp: ({ inputs: { x }, grads, params: { perm } }) =>
    isFloat(x.dtype)
      ? {
          x: transpose(
            grads.y,
            perm.map((_, axis) => perm.indexOf(axis)),
          ),
        }
      : {},
  cases: (c) => [
    ...c.product(
      {
        dtype: MOVED,
        perm: [
          [1, 0, 2],
          [2, 1, 0],
          [0, 2, 1],
          [0, 1, 2],
        ],
      },
      ({ dtype }) => ({
        x: dtype === "bool" ? c.bools([3, 31, 33]) : c.uniform([3, 31, 33], { dtype, low: 1, high: 9 }),
      }),
      ({ perm }) => ({ perm }),
    ),
    c.case("heads", { x: c.normal([2, 32, 4, 8]) }, { perm: [0, 2, 1, 3] }),
    c.case("empty", { x: c.normal([3, 0]) }, { perm: [1, 0] }),
    c.bench(
      "heads of a GPT-2 batch",
      { x: c.normal([8, 1024, 12, 64]) },
      { perm: [0, 2, 1, 3] },
      { bytes: 2 * 4 * 8 * 1024 * 768 },
    ),
  ],
});

/** y = x repeated to a larger shape by NumPy's rule. */
export const broadcastToOp = defineOp("broadcast_to", {
  inputs: ["x"],
  outputs: ["y"],
  changesNothing: sameAval,
  folds: "broadcast",
  params: { shape: [] as readonly number[] },
  shape: ({ x }, { shape }) => {
    checkShape("broadcastTo", shape);
    if (!sameShape(broadcastShapes("broadcastTo", x.shape, shape), shape)) {
      fail("shape", "broadcastTo", `x must broadcast to [${shape.join(",")}]`, x);
    }
    return { y: aval(shape, x.dtype) };
  },
  sharding: elementwiseRule,
  onShard: ({ x }, _, shard) => ({ y: broadcastTo(x, shard.shapeOf(shard.output("y"))) }),
  evaluate: ({ x }, _, { y }) =>
    stridedCopy(y.shape, x.data, broadcastStrides(x.shape, y.shape), 0, y.data, stridesOf(y.shape), 0),
  vjp: ({ inputs: { x }, grads }) => (isFloat(x.dtype) ? { x: sumTo(grads.y, x.shape) } : {}),
  cases: (c) => [
    ...c.product(
      {
        dtype: ["float32", "bfloat16"] as const,
        to: [
          [[], [33]],
          [[31], [4, 31]],
          [
            [4, 1],
            [3, 4, 32],
          ],
          [
            [1, 5],
            [0, 5],
          ],
        ],
      },
      ({ dtype, to }) => ({ x: c.normal(to[0]!, { dtype }) }),
      ({ to }) => ({ shape: to[1]! }),
    ),
    c.bench("rows of 1024", { x: c.normal([1024]) }, { shape: [4096, 1024] }, { bytes: 2 ** 24 }),
  ],
});

/** The elements of x under another shape. One dimension may be -1: it takes what is left. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  expectTensor("reshape", { x });
  if (!Array.isArray(shape))
    fail("shape", "reshape", "shape must be an array of integers", shape ?? String(shape), "Write reshape([2, -1]).");
  if (shape.length > MAX_RANK) fail("shape", "reshape", `a tensor may have at most ${MAX_RANK} axes`, shape.length);
  expectNumbers("reshape", { shape });
  const target = [...shape];
  const open = target.indexOf(-1);
  if (open >= 0) {
    const rest = target.reduce((n, d, i) => (i === open ? n : n * d), 1);
    const inferred = x.size === 0 && rest === 0 ? 0 : x.size / rest;
    if (target.indexOf(-1, open + 1) >= 0 || !Number.isInteger(inferred)) {
      fail("shape", "reshape", `one -1 may stand for a dimension that makes ${x.size} elements`, shape);
    }
    target[open] = inferred;
  }
  return sameShape(target, x.shape) ? x : reshapeOp({ x }, { shape: target }).y;
}

/** All elements in one axis. */
export function flatten(x: Tensor): Tensor {
  expectTensor("flatten", { x });
  return reshape(x, [x.size]);
}

/** Axis k of the result is axis perm[k] of x; without perm the axes are reversed. */
export function transpose(x: Tensor, perm?: readonly number[]): Tensor {
  expectTensor("transpose", { x });
  if (perm !== undefined && !Array.isArray(perm))
    fail("shape", "transpose", "perm must be an array of axes", perm, "Write transpose([1, 0]).");
  const order = perm
    ? Array.from(limited(perm, x.rank), (axis) => normalizeAxis("transpose", axis, x.rank))
    : x.shape.map((_, i) => x.rank - 1 - i);
  return order.length === x.rank && order.every((axis, i) => axis === i) ? x : transposeOp({ x }, { perm: order }).y;
}

function limited(perm: readonly number[], rank: number): readonly number[] {
  if (perm.length !== rank) fail("shape", "transpose", `perm must hold each of the ${rank} axes of x once`, perm);
  return perm;
}

/** Exchanges two axes. */
export function swapAxes(x: Tensor, a: number, b: number): Tensor {
  expectTensor("swapAxes", { x });
  const perm = x.shape.map((_, i) => i);
  const i = normalizeAxis("swapAxes", a, x.rank);
  const j = normalizeAxis("swapAxes", b, x.rank);
  [perm[i], perm[j]] = [j, i];
  return transpose(x, perm);
}

/** Moves one axis to another place; the others keep their order. */
export function moveAxis(x: Tensor, from: number, to: number): Tensor {
  expectTensor("moveAxis", { x });
  const source = normalizeAxis("moveAxis", from, x.rank);
  const perm = x.shape.map((_, i) => i).filter((i) => i !== source);
  perm.splice(normalizeAxis("moveAxis", to, x.rank), 0, source);
  return transpose(x, perm);
}

/** Drops axes of length 1: all of them, or those named. */
export function squeeze(x: Tensor, axes?: number | readonly number[]): Tensor {
  expectTensor("squeeze", { x });
  const drop =
    axes === undefined ? x.shape.flatMap((d, i) => (d === 1 ? [i] : [])) : normalizeAxes("squeeze", axes, x.rank);
  for (const axis of drop) {
    if (x.shape[axis] !== 1)
      fail("shape", "squeeze", `axis ${axis} must have length 1`, x, "Leave it out or reduce it.");
  }
  return reshape(
    x,
    x.shape.filter((_, i) => !drop.includes(i)),
  );
}

/** Inserts axes of length 1 at the given places of the result. */
export function expandDims(x: Tensor, axes: number | readonly number[]): Tensor {
  expectTensor("expandDims", { x });
  if (typeof axes !== "number") expectArray("expandDims", "axes, or one axis", { axes });
  const count = typeof axes === "number" ? 1 : axes.length;
  if (x.rank + count > MAX_RANK) fail("shape", "expandDims", `a tensor may have at most ${MAX_RANK} axes`, axes);
  const places = normalizeAxes("expandDims", axes, x.rank + count);
  const rest = [...x.shape];
  return reshape(
    x,
    Array.from({ length: x.rank + count }, (_, i) => (places.includes(i) ? 1 : rest.shift()!)),
  );
}

/** x repeated to a larger shape by NumPy's rule. */
export function broadcastTo(x: Tensor, shape: readonly number[]): Tensor {
  expectTensor("broadcastTo", { x });
  checkShape("broadcastTo", shape);
  return sameShape(x.shape, shape) ? x : broadcastToOp({ x }, { shape: [...shape] }).y;
}
