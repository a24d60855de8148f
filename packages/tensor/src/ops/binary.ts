/** How elementwise functions of two tensors are defined: NumPy's broadcasting, one dtype, one loop each. */
import { aval, broadcastShapes } from "../aval.js";
import { defineOp } from "../define-op.js";
import { type DType, isFloat } from "../dtype.js";
import { fail } from "../errors.js";
import type { Op } from "../op.js";
import { loadBroadcast, storeNumbers } from "../reference/host.js";
import { elementwiseRule } from "../sharding/rule.js";
import type { Tensor } from "../tensor.js";
import { expectSameDType } from "./check.js";
import { promote, sumTo } from "./promote.js";

/** Fills y from a and b, element by element. */
export type BinaryLoop = (a: Float64Array, b: Float64Array, y: Float64Array) => void;
type Gradient = (dy: Tensor, a: Tensor, b: Tensor, y: Tensor) => Tensor;
type Range = readonly [low: number, high: number];

/** What makes a binary elementwise op. */
export interface BinarySpec {
  /** The loop for a dtype. Results of integers wrap around when they are stored. */
  readonly loop: (dtype: DType) => BinaryLoop;
  /** numbers: no bool. bits: integers and bool. any: everything. */
  readonly operands: "numbers" | "bits" | "any";
  /** Comparisons give bool. */
  readonly result?: "bool";
  /** The result is linear in both together. */
  readonly linear?: true;
  /** Cotangents of a and b, before they are summed back over the axes along which an operand was repeated. */
  readonly gradients?: readonly [Gradient, Gradient];
  /** Where the cases draw a and b from. */
  readonly domain?: readonly [Range, Range];
}

export type BinaryOp = Op<"a" | "b", "y", object, never>;

function checkOperands(name: string, operands: BinarySpec["operands"], dtype: DType): void {
  if (operands === "numbers" && dtype === "bool") {
    fail("dtype", name, "operands must be numbers", dtype, 'Cast them with astype("int32"), or use and, or, xor.');
  }
  if (operands === "bits" && isFloat(dtype)) {
    fail("dtype", name, "operands must be integers or bool", dtype, "Cast them with astype.");
  }
}

const SHAPES: readonly (readonly [readonly number[], readonly number[]])[] = [
  [[33], [33]],
  [[4, 31], [31]],
  [
    [4, 1, 32],
    [3, 1],
  ],
  [[7], []],
  [[0, 3], [3]],
];
const DEFAULT_DOMAIN = [
  [-3, 3],
  [0.5, 3],
] as const;

/** Defines y = f(a, b) as a primitive. */
export function binary(name: string, spec: BinarySpec): BinaryOp {
  const { loop, operands, result, linear, gradients, domain = DEFAULT_DOMAIN } = spec;
  return defineOp(name, {
    inputs: ["a", "b"],
    outputs: ["y"],
    params: {},
    elementwise: true,
    ...(linear && { linear }),
    inPlace: result
      ? []
      : [
          ["a", "y"],
          ["b", "y"],
        ],
    sharding: elementwiseRule,
    shape: ({ a, b }) => {
      expectSameDType(name, { a, b });
      checkOperands(name, operands, a.dtype);
      return { y: aval(broadcastShapes(name, a.shape, b.shape), result ?? a.dtype) };
    },
    evaluate: ({ a, b }, _, { y }) => {
      const run = loop(a.dtype);
      storeNumbers(y, (to) => run(loadBroadcast(a, y.shape), loadBroadcast(b, y.shape), to));
    },
    vjp: ({ inputs: { a, b }, outputs: { y }, grads }) =>
      gradients && isFloat(a.dtype)
        ? { a: sumTo(gradients[0](grads.y, a, b, y), a.shape), b: sumTo(gradients[1](grads.y, a, b, y), b.shape) }
        : {},
    cases: (c) => [
      ...(operands === "bits"
        ? []
        : c.product({ dtype: ["float32", "bfloat16", "float16"] as const, shapes: SHAPES }, ({ dtype, shapes }) => ({
            a: c.uniform(shapes[0], { dtype, low: domain[0][0], high: domain[0][1] }),
            b: c.uniform(shapes[1], { dtype, low: domain[1][0], high: domain[1][1] }),
          }))),
      ...c.product({ dtype: ["int32", "uint32", "uint8"] as const, shape: [[32], [3, 33]] }, ({ dtype, shape }) => ({
        a: c.integers(shape, { dtype, low: dtype === "int32" ? -40 : 0, high: 200 }),
        b: c.integers(shape.slice(-1), { dtype, low: name === "pow" || dtype !== "int32" ? 0 : -4, high: 7 }),
      })),
      ...(operands === "numbers" ? [] : [c.case("bool", { a: c.bools([31]), b: c.bools([31]) })]),
      operands === "bits"
        ? c.bench(
            "16 MiB uint32",
            {
              a: c.integers([2 ** 22], { dtype: "uint32", high: 200 }),
              b: c.integers([2 ** 22], { dtype: "uint32", high: 7 }),
            },
            {},
            { bytes: 3 * 2 ** 24 },
          )
        : c.bench(
            "64 MiB float32",
            { a: c.uniform([2 ** 24]), b: c.uniform([2 ** 24], { low: 1, high: 2 }) },
            {},
            { bytes: 3 * 2 ** 26 },
          ),
    ],
  });
}

/** An operand: a number takes the dtype of the tensor beside it. */
export type TensorLike = Tensor | number;

/** Calls a binary op on operands of any dtypes; `fn` names it in messages. */
export function applyBinary(op: BinaryOp, a: TensorLike, b: TensorLike, fn?: string): Tensor {
  if (op?.definition?.inputs?.length !== 2)
    fail("option", "applyBinary", "op must be a binary op, as binary makes it", op ?? String(op));
  const [left, right] = promote(fn ?? op.definition.name, a, b);
  return op({ a: left, b: right }).y;
}
