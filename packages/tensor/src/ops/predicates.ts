/** not and is_finite: elementwise functions with dtype rules of their own. */
import { aval } from "../aval.js";
import { full } from "../create.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { loadFloat64 } from "../reference/host.js";
import { elementwiseRule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectFloat, expectTensor } from "./check.js";

/** y = ~x of integers, logical negation of bool. */
export const notOp = defineOp("not", {
  inputs: ["x"],
  outputs: ["y"],
  params: {},
  elementwise: true,
  inPlace: [["x", "y"]],
  sharding: elementwiseRule,
  shape: ({ x }) => {
    if (isFloat(x.dtype)) fail("dtype", "not", "x must be an integer or bool tensor", x, "Compare it with 0 first.");
    return { y: x };
  },
  evaluate({ x }, _, { y }) {
    const from = loadFloat64(x);
    const to = y.data;
    if (x.dtype === "bool") for (let i = 0; i < to.length; i++) to[i] = from[i] ? 0 : 1;
    else for (let i = 0; i < to.length; i++) to[i] = ~from[i]!;
  },
  cases: (c) => [
    c.case("bool", { x: c.bools([3, 31]) }),
    ...c.product({ dtype: ["int32", "uint32", "uint8"] as const }, ({ dtype }) => ({
      x: c.integers([33], { dtype, high: 100 }),
    })),
    c.bench("4 MiB bool", { x: c.bools([4, 1024, 1024]) }, {}, { bytes: 2 ** 23 }),
  ],
});

/** y = x is neither infinite nor NaN, as bool. */
export const isFiniteOp = defineOp("is_finite", {
  inputs: ["x"],
  outputs: ["y"],
  params: {},
  elementwise: true,
  sharding: elementwiseRule,
  shape: ({ x }) => {
    expectFloat("isFinite", { x });
    return { y: aval(x.shape, "bool") };
  },
  evaluate({ x }, _, { y }) {
    const from = loadFloat64(x);
    const to = y.data;
    for (let i = 0; i < to.length; i++) to[i] = Number.isFinite(from[i]!) ? 1 : 0;
  },
  cases: (c) => [
    ...c.product(
      { dtype: ["float32", "bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"] as const },
      ({ dtype }) => ({
        x: c.values([5], [0, 1, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY], dtype),
      }),
    ),
    c.bench("16 MiB float32", { x: c.normal([4, 1024, 1024]) }, {}, { bytes: 5 * 2 ** 22 }),
  ],
});

/** ~x of integers, logical negation of bool. */
export const not = (x: Tensor): Tensor => notOp({ x }).y;
/** Logical negation; a number counts as true when it is not 0. */
export function logicalNot(x: Tensor): Tensor {
  expectTensor("logicalNot", { x });
  return x.dtype === "bool" ? not(x) : x.eq(0);
}

/** Whether each element is neither infinite nor NaN. */
function finiteElements(x: Tensor): Tensor {
  expectTensor("isFinite", { x });
  return isFloat(x.dtype) ? isFiniteOp({ x }).y : full(x.shape, 1, { dtype: "bool" });
}

/** Whether each element is NaN. */
function nanElements(x: Tensor): Tensor {
  expectTensor("isNaN", { x });
  return x.ne(x);
}

export { finiteElements as isFinite, nanElements as isNaN };
