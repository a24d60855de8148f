/** The op `softmax` and its backward over the last axis, and the function along any axis. */
import { type Aval, aval, normalizeAxis } from "../aval.js";
import { defineOp } from "../define-op.js";
import { FLOATS } from "../dtype.js";
import { fail } from "../errors.js";
import { rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { cast } from "./cast.js";
import { expectFloat, expectShape, expectTensor } from "./check.js";
import { swapAxes } from "./reshape.js";
import { select } from "./select.js";

/** Throws unless x is floating and has a last axis. */
function expectRows(fn: string, x: Aval): void {
  expectFloat(fn, { x });
  if (x.shape.length === 0) fail("shape", fn, "x must have at least one axis", x, "Reshape it to [1].");
}

const SHAPES = [
  [4, 1],
  [3, 31],
  [2, 32],
  [2, 33],
  [2, 3, 257],
  [2, 2049],
];

/**
 * dx = y * (dy - sum(y * dy) / sum(y)) over the last axis: the gradient of softmax from its result, in float32. sum(y) is 1
 * but for the rounding of y; dividing by it keeps that rounding from being amplified where dy - sum(y * dy) cancels.
 */
export const softmaxBackwardOp = defineOp("softmax_backward", {
  inputs: ["y", "dy"],
  outputs: ["dx"],
  params: {},
  sharding: () => rule("... n, ... n -> ... n", { composed: ["n"] }),
  inPlace: [
    ["y", "dx"],
    ["dy", "dx"],
  ],
  shape: ({ y, dy }) => {
    expectRows("softmaxBackward", y);
    expectFloat("softmaxBackward", { dy });
    expectShape("softmaxBackward", { dy }, y.shape, "that of y");
    return { dx: y };
  },
  reference({ y, dy }) {
    const [wide, dwide] = [cast(y, "float32"), cast(dy, "float32")];
    const total = wide.sum(-1, { keepDims: true });
    const mean = wide
      .mul(dwide)
      .sum(-1, { keepDims: true })
      .div(select(total.eq(0), 1, total));
    return { dx: cast(wide.mul(dwide.sub(mean)), y.dtype) };
  },
  cases: (c) => [
    ...c.product({ dtype: FLOATS, shape: SHAPES }, ({ dtype, shape }) => ({
      y: c.uniform(shape, { dtype, high: 2 / shape.at(-1)! }),
      dy: c.normal(shape, { dtype }),
    })),
    ...(["float32", "bfloat16"] as const).map((dtype) =>
      c.bench(
        `4096 rows of 512, ${dtype}`,
        { y: c.uniform([4096, 512], { dtype, high: 0.004 }), dy: c.normal([4096, 512], { dtype }) },
        {},
        { bytes: 3 * 4096 * 512 * (dtype === "float32" ? 4 : 2) },
      ),
    ),
  ],
});

/** y = exp(x - max) / sum(exp(x - max)) over the last axis, in float32. x [..., n] → y like x. A row of -inf gives NaN. */
export const softmaxOp = defineOp("softmax", {
  inputs: ["x"],
  outputs: ["y"],
  judgedAs: { values: "softmax" },
  params: {},
  sharding: () => rule("... n -> ... n", { composed: ["n"] }),
  inPlace: [["x", "y"]],
  shape: ({ x }) => {
    expectRows("softmax", x);
    return { y: aval(x.shape, x.dtype) };
  },
  reference({ x }) {
    if (x.size === 0) return { y: x };
    const wide = cast(x, "float32");
    const e = wide.sub(wide.max(-1, { keepDims: true })).exp();
    return { y: cast(e.div(e.sum(-1, { keepDims: true })), x.dtype) };
  },
  vjp: ({ outputs: { y }, grads }) => ({ x: softmaxBackwardOp({ y, dy: grads.y }).dx }),
  cases: (c) => [
    ...c.product({ dtype: FLOATS, shape: SHAPES }, ({ dtype, shape }) => ({ x: c.normal(shape, { dtype }) })),
    c.case("large logits", { x: c.normal([4, 33], { mean: 1e4, std: 10 }) }, {}, { gradient: false }),
    c.case(
      "some -inf",
      { x: c.values([2, 3], [0, Number.NEGATIVE_INFINITY, 1, 5, 5, Number.NEGATIVE_INFINITY]) },
      {},
      { gradient: false },
    ),
    c.case("no rows", { x: c.normal([0, 5]) }, {}, { gradient: false }),
    ...(["float32", "bfloat16"] as const).flatMap((dtype) =>
      [512, 16384].map((n) =>
        c.bench(
          `rows of ${n}, ${dtype}`,
          { x: c.normal([2 ** 21 / n, n], { dtype }) },
          {},
          { bytes: 2 ** 22 * (dtype === "float32" ? 4 : 2) },
        ),
      ),
    ),
  ],
});

/** Runs f over the last axis after bringing `axis` there. */
function along(fn: string, x: Tensor, axis: number, f: (x: Tensor) => Tensor): Tensor {
  expectTensor(fn, { x });
  const at = normalizeAxis(fn, axis, x.rank);
  if (at === x.rank - 1) return f(x);
  return swapAxes(f(swapAxes(x, at, x.rank - 1)), at, x.rank - 1);
}

/** e^x / sum(e^x) along an axis (the last by default), in float32 and rounded to the dtype of x. */
export const softmax = (x: Tensor, axis = -1): Tensor => along("softmax", x, axis, (t) => softmaxOp({ x: t }).y);
