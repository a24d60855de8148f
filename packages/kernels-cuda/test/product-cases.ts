/** Products that no case of an op reaches: axes that do not nest, odd sizes, many batches, dtypes that libraries refuse. */
import { scaledDotOp } from "@te/fp8";
import { type Case, CaseBuilder, definedOps, type OpDefinition } from "@te/tensor/op";

const c = new CaseBuilder();
const FORWARD = { gradient: false };
const E4M3 = "float8_e4m3fn";
const E5M2 = "float8_e5m2";
type Float8 = typeof E4M3 | typeof E5M2;

const f8 = (shape: readonly number[], dtype: Float8 = E4M3) => c.normal([...shape], { dtype, std: 20 });
const scales = { aScaleInv: c.values([1], [0.03]), bScaleInv: c.values([1], [0.07]) };

const dots: readonly Case[] = [
  c.case(
    "batches of heads between the axes of a product",
    { a: c.normal([3, 20, 5, 16], { dtype: "bfloat16" }), b: c.normal([3, 24, 5, 16], { dtype: "bfloat16" }) },
    { lhsContract: [3], rhsContract: [3], lhsBatch: [0, 2], rhsBatch: [0, 2] },
  ),
  c.case(
    "batches in another order in each operand, more than there are calls for",
    { a: c.normal([9, 9, 9, 3, 4]), b: c.normal([9, 9, 9, 4, 5]) },
    { lhsContract: [4], rhsContract: [3], lhsBatch: [0, 1, 2], rhsBatch: [2, 1, 0] },
    FORWARD,
  ),
  c.case(
    "axes that do not merge, of 16 bits",
    { a: c.normal([5, 7, 3, 4], { dtype: "float16" }), b: c.normal([4, 6, 5, 2], { dtype: "float16" }) },
    { lhsContract: [0, 3], rhsContract: [2, 0] },
  ),
  ...c.product(
    {
      dtype: ["float32", "bfloat16", "float16"] as const,
      result: ["float32", "bfloat16", "float16"] as const,
      bias: ["float32", "bfloat16"] as const,
      n: [40, 7],
    },
    ({ dtype, bias, n }) => ({
      a: c.normal([9, 24], { dtype }),
      b: c.normal([24, n], { dtype }),
      bias: c.normal([n], { dtype: bias }),
    }),
    ({ result }) => ({ lhsContract: [1], rhsContract: [0], dtype: result }),
    FORWARD,
  ),
  c.case(
    "parts of the depth that add up in float32 only",
    {
      a: c.values([1, 16], [256, -256, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0], "bfloat16"),
      b: c.values([16, 1], Array(16).fill(1), "bfloat16"),
    },
    { lhsContract: [1], rhsContract: [0] },
    FORWARD,
  ),
  c.case(
    "many tiles along every axis",
    { a: c.normal([300, 200], { dtype: "bfloat16" }), b: c.normal([200, 264], { dtype: "bfloat16" }) },
    { lhsContract: [1], rhsContract: [0] },
    FORWARD,
  ),
  c.case(
    "no depth, with a bias",
    { a: c.normal([3, 0], { dtype: "bfloat16" }), b: c.normal([0, 5], { dtype: "bfloat16" }), bias: c.normal([5]) },
    { lhsContract: [1], rhsContract: [0] },
    FORWARD,
  ),
  c.case(
    "no rows",
    { a: c.normal([0, 8], { dtype: "float16" }), b: c.normal([8, 5], { dtype: "float16" }) },
    { lhsContract: [1], rhsContract: [0] },
    FORWARD,
  ),
  c.case(
    "words of 32 bits that wrap, over batches and odd tiles",
    {
      a: c.integers([3, 130, 17], { low: -2_000_000_000, high: 2_000_000_000 }),
      b: c.integers([17, 3, 131], { low: -9, high: 9 }),
    },
    { lhsContract: [2], rhsContract: [0], lhsBatch: [0], rhsBatch: [1] },
    FORWARD,
  ),
  c.case(
    "bytes",
    {
      a: c.integers([33, 40], { low: 0, high: 256, dtype: "uint8" }),
      b: c.integers([40, 9], { low: 0, high: 256, dtype: "uint8" }),
    },
    { lhsContract: [1], rhsContract: [0], dtype: "int32" },
    FORWARD,
  ),
];

const scaledDots: readonly Case[] = [
  ...c.product(
    {
      size: [
        [48, 64, 32],
        [200, 144, 272],
        [1, 40, 7],
        [16, 16, 20],
      ],
      lhs: [0, 1],
      rhs: [0, 1],
    },
    ({ size: [m = 0, k = 0, n = 0], lhs, rhs }) => ({
      a: f8(lhs ? [m, k] : [k, m]),
      b: f8(rhs ? [n, k] : [k, n], E5M2),
      ...scales,
    }),
    ({ lhs, rhs }) => ({ lhsContract: [lhs], rhsContract: [rhs], dtype: "bfloat16" }),
    FORWARD,
  ),
  ...c.product(
    {
      dtype: ["float32", "bfloat16", "float16"] as const,
      bias: ["float32", "bfloat16", "float16"] as const,
      n: [32, 9],
    },
    ({ bias, n }) => ({ a: f8([16, 32]), b: f8([32, n]), ...scales, bias: c.normal([n], { dtype: bias }) }),
    ({ dtype }) => ({ lhsContract: [1], rhsContract: [0], dtype }),
    FORWARD,
  ),
  c.case(
    "batches, along the depth and across it",
    { a: f8([3, 32, 2, 16]), b: f8([3, 2, 16, 48]), ...scales },
    { lhsContract: [3], rhsContract: [2], lhsBatch: [0, 2], rhsBatch: [0, 1] },
    FORWARD,
  ),
  c.case(
    "odd batches",
    { a: f8([3, 5, 7]), b: f8([3, 7, 9]), ...scales },
    { lhsContract: [2], rhsContract: [1], lhsBatch: [0], rhsBatch: [0] },
    FORWARD,
  ),
  c.case(
    "no depth",
    { a: f8([3, 0]), b: f8([0, 5]), ...scales, bias: c.normal([5]) },
    { lhsContract: [1], rhsContract: [0] },
    FORWARD,
  ),
];

/** The op and its cases, of both products. */
export const productCases: readonly (readonly [OpDefinition, readonly Case[]])[] = [
  [definedOps().get("dot")!, dots],
  [scaledDotOp.definition, scaledDots],
];
