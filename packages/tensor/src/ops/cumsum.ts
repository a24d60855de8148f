/** The op `cumsum`: running sums in both directions, with or without the element itself. */
import { normalizeAxis, stridesOf } from "../aval.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { withDefaults } from "../options.js";
import { loadFloat64, storeNumbers } from "../reference/host.js";
import { axisTerm, rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { cast } from "./cast.js";
import { expectTensor } from "./check.js";

/** y_i = Σ_{j≤i} x_j along `axis`; `exclusive` leaves x_i out, `reverse` sums from the end. */
export const cumsumOp = defineOp("cumsum", {
  inputs: ["x"],
  outputs: ["y"],
  params: { axis: 0, reverse: false, exclusive: false },
  kinds: { axis: "size" },
  shape: ({ x }, { axis }) => {
    normalizeAxis("cumsum", axis, x.shape.length);
    if (x.dtype === "bool") fail("dtype", "cumsum", "x must hold numbers", x, 'Cast it with astype("int32").');
    return { y: x };
  },
  sharding: ({ x }, { axis }) => rule(axisTerm(x.shape, [axis])),
  evaluate({ x }, { axis, reverse, exclusive }, { y }) {
    const at = normalizeAxis("cumsum", axis, x.shape.length);
    const values = loadFloat64(x);
    const step = stridesOf(x.shape)[at]!;
    const length = x.shape[at]!;
    const float = isFloat(x.dtype);
    storeNumbers(y, (to) => {
      for (let row = 0; row * length < to.length; row++) {
        const start = Math.floor(row / step) * step * length + (row % step);
        let total = 0;
        for (let k = 0; k < length; k++) {
          const i = start + (reverse ? length - 1 - k : k) * step;
          const next = float ? total + values[i]! : (total + values[i]!) | 0;
          to[i] = exclusive ? total : next;
          total = next;
        }
      }
    });
  },
  vjp: ({ inputs: { x }, grads, params: { axis, reverse, exclusive } }) =>
    isFloat(x.dtype) ? { x: cumsum(grads.y, axis, { reverse: !reverse, exclusive }) } : {},
  cases: (c) => [
    ...c.product(
      {
        dtype: ["float32", "bfloat16", "float16", "int32"] as const,
        axis: [0, 1],
        reverse: [false, true],
        exclusive: [false, true],
      },
      ({ dtype }) => ({
        x: dtype === "int32" ? c.integers([5, 33], { low: -9, high: 9 }) : c.normal([5, 33], { dtype }),
      }),
      ({ axis, reverse, exclusive }) => ({ axis, reverse, exclusive }),
    ),
    c.case("empty", { x: c.normal([0, 3]) }, { axis: 1 }),
    c.bench("rows of 1024", { x: c.normal([4096, 1024]) }, { axis: 1 }, { bytes: 2 ** 25 }),
  ],
});

/** Running sums along an axis. `exclusive` leaves the element itself out, `reverse` starts at the end. */
export function cumsum(
  x: Tensor,
  axis: number,
  options: { readonly reverse?: boolean; readonly exclusive?: boolean } = {},
): Tensor {
  expectTensor("cumsum", { x });
  const { reverse, exclusive } = withDefaults("cumsum", options, { reverse: false, exclusive: false });
  const numbers = x.dtype === "bool" ? cast(x, "int32") : x;
  return cumsumOp({ x: numbers }, { axis: normalizeAxis("cumsum", axis, x.rank), reverse, exclusive }).y;
}
