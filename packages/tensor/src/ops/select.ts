/** The op `select`, and what is made of it: where and clip. */
import { aval, broadcastShapes } from "../aval.js";
import { defineOp } from "../define-op.js";
import { isFloat } from "../dtype.js";
import { loadBroadcast, storeNumbers } from "../reference/host.js";
import { elementwiseRule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectDType, expectSameDType, expectTensor } from "./check.js";
import { promote, sumTo } from "./promote.js";

/** y = a where condition is true, b elsewhere; the three broadcast. */
export const selectOp = defineOp("select", {
  inputs: ["condition", "a", "b"],
  outputs: ["y"],
  params: {},
  elementwise: true,
  inPlace: [
    ["a", "y"],
    ["b", "y"],
  ],
  sharding: elementwiseRule,
  shape: ({ condition, a, b }) => {
    expectDType("where", { condition }, "bool");
    expectSameDType("where", { a, b });
    return { y: aval(broadcastShapes("where", condition.shape, a.shape, b.shape), a.dtype) };
  },
  evaluate({ condition, a, b }, _, { y }) {
    const choose = loadBroadcast(condition, y.shape);
    const yes = loadBroadcast(a, y.shape);
    const no = loadBroadcast(b, y.shape);
    storeNumbers(y, (to) => {
      for (let i = 0; i < to.length; i++) to[i] = choose[i] ? yes[i]! : no[i]!;
    });
  },
  vjp: ({ inputs: { condition, a, b }, grads: { y } }) =>
    isFloat(a.dtype) ? { a: sumTo(select(condition, y, 0), a.shape), b: sumTo(select(condition, 0, y), b.shape) } : {},
  cases: (c) => [
    ...c.product(
      {
        dtype: ["float32", "bfloat16", "float16", "int32", "bool"] as const,
        shapes: [
          [[33], [33], [33]],
          [[4, 1], [31], []],
          [[], [2, 32], [2, 32]],
          [[0], [0], [1]],
        ],
      },
      ({ dtype, shapes }) => {
        const fill = (shape: readonly number[]) =>
          dtype === "bool"
            ? c.bools(shape)
            : dtype === "int32"
              ? c.integers(shape, { high: 9 })
              : c.normal(shape, { dtype });
        return { condition: c.bools(shapes[0]!), a: fill(shapes[1]!), b: fill(shapes[2]!) };
      },
    ),
    c.bench(
      "16 MiB float32",
      { condition: c.bools([4, 1024, 1024]), a: c.normal([4, 1024, 1024]), b: c.normal([4, 1024, 1024]) },
      {},
      { bytes: 13 * 2 ** 22 },
    ),
  ],
});

/** a where the condition is true, b elsewhere. a and b promote to one dtype; everything broadcasts. */
export function select(condition: Tensor, a: Tensor | number, b: Tensor | number): Tensor {
  expectTensor("where", { condition });
  const [yes, no] = promote("where", a, b);
  return selectOp({ condition: condition.dtype === "bool" ? condition : condition.ne(0), a: yes, b: no }).y;
}

/** The same as {@link select}, under NumPy's name. */
export const where = select;

/** x held between low and high; either bound may be left out. NaN stays NaN. */
export function clip(x: Tensor, low?: Tensor | number, high?: Tensor | number): Tensor {
  expectTensor("clip", { x });
  const above = low === undefined ? x : x.maximum(low);
  return high === undefined ? above : above.minimum(high);
}
