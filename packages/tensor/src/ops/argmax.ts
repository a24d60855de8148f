/** Where the extremes are. */
import { aval, normalizeAxis, stridesOf } from "../aval.js";
import { defineOp } from "../define-op.js";
import { fail } from "../errors.js";
import type { HostArray } from "../op.js";
import { withDefaults } from "../options.js";
import { loadFloat64 } from "../reference/host.js";
import { axisTerm, rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectIndexable, expectTensor } from "./check.js";
import type { ReduceOptions } from "./reduce.js";
import { expandDims, flatten } from "./reshape.js";

function argOp(name: "argmax" | "argmin", isBetter: (x: number, best: number) => boolean) {
  return defineOp(name, {
    inputs: ["x"],
    outputs: ["y"],
    params: { axis: 0 },
    kinds: { axis: "size" },
    shape: ({ x }, { axis }) => {
      const at = normalizeAxis(name, axis, x.shape.length);
      expectIndexable(name, x, at);
      if (x.shape[at] === 0) fail("shape", name, `axis ${at} must hold at least one element`, x);
      return {
        y: aval(
          x.shape.filter((_, i) => i !== at),
          "int32",
        ),
      };
    },
    sharding: ({ x }, { axis }) => {
      const rows = axisTerm(x.shape, [axis]).split(" ");
      return rule(`${rows.join(" ")} -> ${rows.filter((_, i) => i !== axis).join(" ")}`);
    },
    evaluate: ({ x }, { axis }, { y }) => search(x, normalizeAxis(name, axis, x.shape.length), y, isBetter),
    vjp: () => ({}),
    cases: (c) => [
      ...c.product(
        { dtype: ["float32", "bfloat16", "int32"] as const, axis: [0, 1, 2] },
        ({ dtype }) => ({
          x: dtype === "int32" ? c.integers([3, 33, 4], { low: -5, high: 5 }) : c.normal([3, 33, 4], { dtype }),
        }),
        ({ axis }) => ({ axis }),
      ),
      c.case(
        "first of equals, NaN first",
        { x: c.values([3, 4], [1, 2, 2, 1, 0, Number.NaN, 5, Number.NaN, -1, -1, -1, -1]) },
        { axis: 1 },
      ),
      c.bench("rows of 1024", { x: c.normal([4096, 1024]) }, { axis: 1 }, { bytes: 2 ** 24 }),
    ],
  });
}

function search(x: HostArray, axis: number, y: HostArray, isBetter: (x: number, best: number) => boolean): void {
  const values = loadFloat64(x);
  const step = stridesOf(x.shape)[axis]!;
  const length = x.shape[axis]!;
  const to = y.data;
  for (let i = 0; i < to.length; i++) {
    const start = Math.floor(i / step) * step * length + (i % step);
    let best = 0;
    for (let k = 0; k < length; k++) {
      const value = values[start + k * step]!;
      if (Number.isNaN(value)) {
        best = k;
        break;
      }
      if (isBetter(value, values[start + best * step]!)) best = k;
    }
    to[i] = best;
  }
}

/** y = int32 index of the first largest element along `axis`; the first NaN wins. */
export const argmaxOp = argOp("argmax", (x, best) => x > best);
/** y = int32 index of the first smallest element along `axis`; the first NaN wins. */
export const argminOp = argOp("argmin", (x, best) => x < best);

function along(op: typeof argmaxOp, x: Tensor, axis: number | undefined, options: ReduceOptions): Tensor {
  const { name } = op.definition;
  expectTensor(name, { x });
  const { keepDims } = withDefaults(name, options, { keepDims: false });
  const at = axis === undefined ? 0 : normalizeAxis(name, axis, x.rank);
  const { y } = op({ x: axis === undefined ? flatten(x) : x }, { axis: at });
  if (!keepDims) return y;
  return axis === undefined ? y.reshape(x.shape.map(() => 1)) : expandDims(y, at);
}

/** Index (int32) of the first largest element along an axis, or in the flattened tensor. The first NaN wins. */
export const argmax = (x: Tensor, axis?: number, options: ReduceOptions = {}): Tensor =>
  along(argmaxOp, x, axis, options);

/** Index (int32) of the first smallest element along an axis, or in the flattened tensor. The first NaN wins. */
export const argmin = (x: Tensor, axis?: number, options: ReduceOptions = {}): Tensor =>
  along(argminOp, x, axis, options);
