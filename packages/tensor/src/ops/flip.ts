/** The op `flip` and its function: tensors with axes in reverse order. */
import { normalizeAxes, stridesOf } from "../aval.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { stridedCopy } from "../reference/strided.js";
import { axisTerm, rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectTensor } from "./check.js";

/** y = x with the order along `axes` reversed. */
export const flipOp = defineOp("flip", {
  inputs: ["x"],
  outputs: ["y"],
  params: { axes: [] as readonly number[] },
  moves: true,
  kinds: { axes: "sizes" },
  shape: ({ x }, { axes }) => {
    normalizeAxes("flip", axes, x.shape.length);
    return { y: x };
  },
  sharding: ({ x }, { axes }) => rule(axisTerm(x.shape, axes)),
  evaluate({ x }, { axes }, { y }) {
    const strides = stridesOf(x.shape);
    let offset = 0;
    for (const axis of axes) offset += strides[axis]! * (x.shape[axis]! - 1);
    stridedCopy(
      y.shape,
      x.data,
      strides.map((s, i) => (axes.includes(i) ? -s : s)),
      offset,
      y.data,
      stridesOf(y.shape),
      0,
    );
  },
  vjp: ({ inputs: { x }, grads, params: { axes } }) => (isFloat(x.dtype) ? { x: flip(grads.y, axes) } : {}),
  cases: (c) => [
    ...c.product(
      { dtype: ["float32", "bfloat16"] as const, axes: [[0], [1], [0, 2], []] },
      ({ dtype }) => ({ x: c.normal([3, 31, 2], { dtype }) }),
      ({ axes }) => ({ axes }),
    ),
    c.bench("rows of 1024", { x: c.normal([4096, 1024]) }, { axes: [1] }, { bytes: 2 ** 25 }),
  ],
});

/** x with the order along the axes reversed; all axes by default. */
export function flip(x: Tensor, axes?: number | readonly number[]): Tensor {
  expectTensor("flip", { x });
  const which = normalizeAxes("flip", axes, x.rank);
  return which.length ? flipOp({ x }, { axes: which }).y : x;
}
