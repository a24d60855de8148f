/** The op `concat` and its function, which promotes dtypes. */
import { aval, normalizeAxis, stridesOf } from "../aval.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import { stridedCopy } from "../reference/strided.js";
import { axisTerm, rule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectSameDType, expectTensors } from "./check.js";
import { promoteAll } from "./promote.js";
import { slice } from "./slice.js";

/** y = the inputs one after the other along `axis`. */
export const concatOp = defineOp<string, "y", { axis: number }>("concat", {
  inputs: [],
  variadic: true,
  outputs: ["y"],
  params: { axis: 0 },
  moves: true,
  kinds: { axis: "size" },
  shape: (inputs, { axis }) => {
    const all = Object.values(inputs);
    const first = all[0] ?? fail("option", "concat", "at least one tensor is needed", "none");
    expectSameDType("concat", inputs);
    normalizeAxis("concat", axis, first.shape.length);
    for (const a of all) {
      if (a.shape.length !== first.shape.length || a.shape.some((d, i) => i !== axis && d !== first.shape[i])) {
        fail("shape", "concat", `every tensor must match [${first.shape}] except in axis ${axis}`, a);
      }
    }
    const total = all.reduce((sum, a) => sum + a.shape[axis]!, 0);
    return {
      y: aval(
        first.shape.map((d, i) => (i === axis ? total : d)),
        first.dtype,
      ),
    };
  },
  sharding(inputs, { axis }) {
    const all = Object.values(inputs);
    const total = all.reduce((sum, a) => sum + a.shape[axis]!, 0);
    const joined = all[0]!.shape.map((d, i) => (i === axis ? total : d));
    return rule(`${all.map(({ shape }) => axisTerm(shape, [axis])).join(", ")} -> ${axisTerm(joined, [axis])}`);
  },
  evaluate(inputs, { axis }, { y }) {
    const strides = stridesOf(y!.shape);
    let offset = 0;
    for (const x of Object.values(inputs)) {
      stridedCopy(x.shape, x.data, stridesOf(x.shape), 0, y!.data, strides, offset * strides[axis]!);
      offset += x.shape[axis]!;
    }
  },
  vjp({ inputs, grads, params: { axis } }) {
    const y = grads.y!;
    if (!isFloat(y.dtype)) return {};
    let offset = 0;
    const cotangents: Record<string, Tensor> = {};
    for (const [name, x] of Object.entries(inputs)) {
      const start = x.shape.map((_, i) => (i === axis ? offset : 0));
      offset += x.shape[axis]!;
      cotangents[name] = slice(
        y,
        start,
        x.shape.map((d, i) => (i === axis ? offset : d)),
      );
    }
    return cotangents;
  },
  cases: (c) => [
    ...c.product(
      { dtype: ["float32", "bfloat16", "int32"] as const, axis: [0, 1] },
      ({ dtype, axis }) => {
        const fill = (shape: readonly number[]) =>
          dtype === "int32" ? c.integers(shape, { high: 99 }) : c.normal(shape, { dtype });
        return { "0": fill([3, 31]), "1": fill(axis ? [3, 2] : [5, 31]), "2": fill(axis ? [3, 0] : [0, 31]) };
      },
      ({ axis }) => ({ axis }),
    ),
    c.case("one", { "0": c.normal([33]) }, { axis: 0 }),
    c.bench(
      "packed projections",
      { "0": c.normal([4096, 512]), "1": c.normal([4096, 512]), "2": c.normal([4096, 512]) },
      { axis: 1 },
      { bytes: 2 * 3 * 2 ** 23 },
    ),
  ],
}) as unknown as (inputs: { inputs: readonly Tensor[] }, params: { axis: number }) => { y: Tensor };

/** The tensors one after the other along an axis. Different dtypes promote. */
export function concat(tensors: readonly Tensor[], axis = 0): Tensor {
  expectTensors("concat", "tensors", tensors);
  const first = tensors[0] ?? fail("option", "concat", "at least one tensor is needed", "none");
  const at = normalizeAxis("concat", axis, first.rank);
  if (tensors.length === 1) return first;
  return concatOp({ inputs: promoteAll("concat", tensors) }, { axis: at }).y;
}
