/** The op `dot`, the general product of two tensors, and the functions dot and matmul on it. */
import { aval, broadcastShapes, formatAval, normalizeAxis } from "../aval.js";
import { defineOp } from "../define-op.js";
import { checkDType, type DType, isFloat, promoteTypes } from "../dtype.js";
import { fail } from "../errors.js";
import { expectNumbers } from "../expect.js";
import { type Defaults, withDefaults } from "../options.js";
import { loadFloat64, storeNumbers } from "../reference/host.js";
import type { Tensor } from "../tensor.js";
import { cast } from "./cast.js";
import { expectSameDType, expectShape, expectTensor } from "./check.js";
import { type DotAxes, dotShape, dotValues, freeAxes } from "./dot-axes.js";
import { dotRule, holdsBias } from "./dot-rule.js";
import { sum } from "./reduce.js";
import { broadcastTo, expandDims, reshape, transpose } from "./reshape.js";

/**
 * y = Σ a · b over the contracted axes, + bias along the trailing axes. Axes of y: batch, free axes of a, free axes of
 * b. Accumulates in float32 (integers in int32) and rounds once to `dtype`, which is that of a when "".
 */
export const dotOp = defineOp("dot", {
  inputs: ["a", "b"],
  optional: ["bias"],
  outputs: ["y"],
  judgedAs: { values: "gemm" },
  params: {
    lhsContract: [] as readonly number[],
    rhsContract: [] as readonly number[],
    lhsBatch: [] as readonly number[],
    rhsBatch: [] as readonly number[],
    dtype: "" as DType | "",
  },
  shape({ a, b, bias }, params) {
    expectSameDType("dot", { a, b });
    if (a.dtype === "bool") fail("dtype", "dot", "operands must be numbers", a, 'Cast them with astype("int32").');
    const dtype = params.dtype === "" ? a.dtype : checkDType("dot", params.dtype);
    if (isFloat(dtype) !== isFloat(a.dtype)) {
      fail(
        "dtype",
        "dot",
        `the result of ${a.dtype} operands must be ${isFloat(a.dtype) ? "floating" : "an integer type"}`,
        dtype,
        "Cast the result with astype.",
      );
    }
    const shape = dotShape("dot", a, b, params);
    if (bias) {
      const free = freeAxes(b.shape.length, params.rhsContract, params.rhsBatch).map((axis) => b.shape[axis]!);
      expectShape("dot", { bias }, free, `the free axes of b: ${formatAval(b)}`);
    }
    return { y: aval(shape, dtype) };
  },
  sharding: ({ a, b }, params) => dotRule(a, b, params),
  // The bias goes into one of the partial sums.
  onShard: ({ a, b, bias }, params, shard, op) =>
    op({ a, b, bias: holdsBias(shard, params) ? bias : undefined }, params),
  evaluate({ a, b, bias }, axes, { y }) {
    const product = dotValues(a, b, axes);
    const added = bias && loadFloat64(bias);
    storeNumbers(y, (to) => {
      if (added) for (let i = 0; i < to.length; i++) to[i] = product[i]! + added[i % added.length]!;
      else to.set(product);
    });
  },
  vjp({ inputs: { a, b, bias }, grads: { y }, params }) {
    if (!isFloat(a.dtype)) return {};
    const biasRank = bias?.rank ?? 0;
    const lead = Array.from({ length: y.rank - biasRank }, (_, i) => i);
    return {
      a: operandGradient(y, b, a, params, "lhs"),
      b: operandGradient(y, a, b, params, "rhs"),
      bias: bias && cast(sum(cast(y, promoteTypes(y.dtype, bias.dtype)), lead), bias.dtype),
    };
  },
  cases: (c) => [
    ...c.product(
      {
        dtype: ["float32", "bfloat16", "float16"] as const,
        size: [
          [31, 33, 32],
          [1, 7, 1],
          [64, 64, 64],
          [3, 0, 4],
        ],
        transposed: [false, true],
      },
      ({ dtype, size: [m = 0, k = 0, n = 0], transposed }) => ({
        a: c.normal(transposed ? [k, m] : [m, k], { dtype }),
        b: c.normal(transposed ? [n, k] : [k, n], { dtype }),
      }),
      ({ transposed }) => ({ lhsContract: [transposed ? 0 : 1], rhsContract: [transposed ? 1 : 0] }),
    ),
    ...c.product(
      {
        // More than one stretch of the depth, and more columns or rows than a kernel takes at a time.
        size: [
          [20, 1030, 2070],
          [2070, 530, 40],
        ],
        lhsTransposed: [false, true],
        rhsTransposed: [false, true],
      },
      ({ size: [m = 0, k = 0, n = 0], lhsTransposed, rhsTransposed }) => ({
        a: c.normal(lhsTransposed ? [k, m] : [m, k]),
        b: c.normal(rhsTransposed ? [n, k] : [k, n]),
      }),
      ({ lhsTransposed, rhsTransposed }) => ({
        lhsContract: [lhsTransposed ? 0 : 1],
        rhsContract: [rhsTransposed ? 1 : 0],
      }),
      { gradient: false },
    ),
    c.case(
      "batch",
      { a: c.normal([2, 31, 3, 8]), b: c.normal([2, 33, 3, 8]) },
      { lhsContract: [3], rhsContract: [3], lhsBatch: [0, 2], rhsBatch: [0, 2] },
    ),
    c.case(
      "two contracted axes",
      { a: c.normal([5, 3, 4]), b: c.normal([4, 3, 2, 6]) },
      { lhsContract: [1, 2], rhsContract: [1, 0] },
    ),
    c.case(
      "bias",
      { a: c.normal([2, 31, 16]), b: c.normal([16, 3, 32]), bias: c.normal([3, 32]) },
      { lhsContract: [2], rhsContract: [0] },
    ),
    c.case(
      "bfloat16 with bias",
      {
        a: c.normal([33, 64], { dtype: "bfloat16" }),
        b: c.normal([64, 31], { dtype: "bfloat16" }),
        bias: c.normal([31], { dtype: "bfloat16" }),
      },
      { lhsContract: [1], rhsContract: [0] },
    ),
    c.case(
      "bfloat16 to float32",
      { a: c.normal([33, 64], { dtype: "bfloat16" }), b: c.normal([64, 31], { dtype: "bfloat16" }) },
      { lhsContract: [1], rhsContract: [0], dtype: "float32" },
    ),
    c.case("outer", { a: c.normal([31]), b: c.normal([33]) }),
    c.case(
      "int32",
      { a: c.integers([9, 31], { low: -9, high: 9 }), b: c.integers([31, 8], { low: -9, high: 9 }) },
      { lhsContract: [1], rhsContract: [0] },
    ),
    c.bench(
      "1024³",
      { a: c.normal([1024, 1024]), b: c.normal([1024, 1024]) },
      { lhsContract: [1], rhsContract: [0] },
      { flops: 2 ** 31 },
    ),
  ],
});

/** The cotangent of one operand: dy times the other operand, contracted over the other's free axes. */
function operandGradient(dy: Tensor, other: Tensor, operand: Tensor, params: DotAxes, side: "lhs" | "rhs"): Tensor {
  const { lhsContract, rhsContract, lhsBatch, rhsBatch } = params;
  const [contract, otherContract] = side === "lhs" ? [lhsContract, rhsContract] : [rhsContract, lhsContract];
  const [batch, otherBatch] = side === "lhs" ? [lhsBatch, rhsBatch] : [rhsBatch, lhsBatch];
  const free = freeAxes(operand.rank, contract, batch);
  const otherFree = freeAxes(other.rank, otherContract, otherBatch);
  // dy is [batch, free of lhs, free of rhs].
  const start = batch.length + (side === "lhs" ? free.length : 0);
  const type = promoteTypes(dy.dtype, other.dtype);
  const dyAxes = { contract: otherFree.map((_, i) => start + i), batch: batch.map((_, i) => i) };
  // The contracted axes come out in the order in which the other operand holds them. Operands are ordered so that the
  // usual layouts need no transpose afterwards: those of weights [in, out] as in a forward product, others by need.
  const inOther = [...otherContract].sort((x, y) => x - y).map((axis) => contract[otherContract.indexOf(axis)]!);
  const orderOf = (dyFirst: boolean): number[] => [...batch, ...(dyFirst ? [free, inOther] : [inOther, free]).flat()];
  const isOwn = (order: readonly number[]): boolean => order.every((axis, i) => axis === i);
  const usual = side === "lhs";
  const dyFirst = !isOwn(orderOf(usual)) && isOwn(orderOf(!usual)) ? !usual : usual;
  const product = dotOp(
    dyFirst ? { a: cast(dy, type), b: cast(other, type) } : { a: cast(other, type), b: cast(dy, type) },
    {
      lhsContract: dyFirst ? dyAxes.contract : otherFree,
      rhsContract: dyFirst ? otherFree : dyAxes.contract,
      lhsBatch: dyFirst ? dyAxes.batch : otherBatch,
      rhsBatch: dyFirst ? otherBatch : dyAxes.batch,
      dtype: operand.dtype,
    },
  ).y;
  const order = orderOf(dyFirst);
  return transpose(
    product,
    operand.shape.map((_, axis) => order.indexOf(axis)),
  );
}

/** Options of {@link dot}. */
export interface DotOptions extends Partial<DotAxes> {
  /** Added along the trailing (free) axes of b before rounding. */
  readonly bias?: Tensor;
  /** dtype of the result; that of the operands by default. */
  readonly dtype?: DType;
}

const DOT_DEFAULTS = {
  lhsContract: undefined,
  rhsContract: undefined,
  lhsBatch: [],
  rhsBatch: [],
  bias: undefined,
  dtype: undefined,
} satisfies Defaults<DotOptions>;

/**
 * The general product: sums a · b over the contracted axes, batch axes side by side. Axes of the result: batch, free
 * axes of a, free axes of b. Without axes it contracts the last axis of a with the last but one (or only) axis of b.
 * Operands of different dtypes promote.
 */
export function dot(a: Tensor, b: Tensor, options: DotOptions = {}): Tensor {
  expectTensor("dot", { a, b });
  const { bias, dtype, lhsBatch, rhsBatch } = withDefaults("dot", options, DOT_DEFAULTS);
  if (bias !== undefined) expectTensor("dot", { bias });
  const given = options.lhsContract !== undefined || options.rhsContract !== undefined;
  if (!given && (a.rank === 0 || b.rank === 0)) {
    fail("shape", "dot", "operands must have at least one axis", a.rank === 0 ? a : b, "Multiply with mul.");
  }
  for (const name of ["lhsContract", "rhsContract", "lhsBatch", "rhsBatch"] as const)
    if (options[name] !== undefined) expectNumbers("dot", { [name]: options[name] });
  const axes = (list: readonly number[], rank: number) => list.map((axis) => normalizeAxis("dot", axis, rank));
  const type = promoteTypes(a.dtype, b.dtype);
  return dotOp(
    { a: cast(a, type), b: cast(b, type), bias },
    {
      lhsContract: axes(given ? (options.lhsContract ?? []) : [-1], a.rank),
      rhsContract: axes(given ? (options.rhsContract ?? []) : [Math.max(b.rank - 2, 0)], b.rank),
      lhsBatch: axes(lhsBatch, a.rank),
      rhsBatch: axes(rhsBatch, b.rank),
      dtype: dtype === undefined ? "" : checkDType("dot", dtype),
    },
  ).y;
}

/**
 * The matrix product over the last two axes: [..., m, k] × [..., k, n] → [..., m, n]; leading axes broadcast. A vector
 * counts as a row on the left and as a column on the right, and its axis is dropped again.
 */
export function matmul(a: Tensor, b: Tensor, options: { readonly dtype?: DType } = {}): Tensor {
  expectTensor("matmul", { a, b });
  const { dtype } = withDefaults("matmul", options, { dtype: undefined });
  if (a.rank === 0 || b.rank === 0)
    fail("shape", "matmul", "operands must have at least one axis", a.rank === 0 ? a : b, "Multiply with mul.");
  if (b.rank <= 2) return dot(a, b, { dtype });
  if (a.rank === 1) return reshape(matmul(expandDims(a, 0), b, { dtype }), [...b.shape.slice(0, -2), b.shape.at(-1)!]);
  const lead = broadcastShapes("matmul", a.shape.slice(0, -2), b.shape.slice(0, -2));
  const left = broadcastTo(a, [...lead, ...a.shape.slice(-2)]);
  const right = broadcastTo(b, [...lead, ...b.shape.slice(-2)]);
  const batch = lead.map((_, i) => i);
  const rank = lead.length;
  return dot(left, right, { lhsContract: [rank + 1], rhsContract: [rank], lhsBatch: batch, rhsBatch: batch, dtype });
}
