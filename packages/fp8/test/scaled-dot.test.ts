/** Products of FP8 tensors: every pair of types and layouts, one rounding, batches, and what has no product. */
import { type Tensor, tensor, valueAndGrad } from "@te/tensor";
import { errorN, expectClose, expectError, limitOf, normals } from "@te/testkit";
import { describe, expect, it } from "vitest";
import { dequantize, type Float8, forwardDot, quantizeOp, quantizeWith, scaledDotOp } from "../src/index.js";
import { product } from "./product.js";

const E4M3: Float8 = "float8_e4m3fn";
const E5M2: Float8 = "float8_e5m2";
const AXES = { lhsContract: [1], rhsContract: [0] };

describe("scaled_dot", () => {
  const [m, k, n] = [48, 96, 33];
  const layouts = [
    [false, false],
    [false, true],
    [true, false],
    [true, true],
  ] as const;
  const pairs = [
    [E4M3, E4M3],
    [E5M2, E4M3],
    [E4M3, E5M2],
  ] as const;

  it.each(pairs.flatMap(([a, b]) => layouts.map(([aT, bT]) => ({ a, b, aT, bT }))))(
    "G03: $a × $b, transposed $aT $bT",
    async ({ a, b, aT, bT }) => {
      const axes = { lhsContract: [aT ? 0 : 1], rhsContract: [bT ? 1 : 0] };
      const left = normals(aT ? [k, m] : [m, k], { seed: 1, std: 2 });
      const right = normals(bT ? [n, k] : [k, n], { seed: 2, std: 0.05 });
      const state = (scale: number) => ({ scale: tensor([scale]), amaxHistory: tensor([0]) });
      const [qa, qb] = [
        quantizeWith(state(a === E4M3 ? 48 : 6000), left, a),
        quantizeWith(state(b === E4M3 ? 1800 : 2e5), right, b),
      ];
      const decoded = product(await dequantize(qa).values(), await dequantize(qb).values(), [m, k, n], aT, bT);
      const exact = product(await left.values(), await right.values(), [m, k, n], aT, bT);
      for (const dtype of ["float32", "bfloat16", "float16"] as const) {
        const y = forwardDot(qa, qb, axes, { dtype });
        expect([y.shape, y.dtype]).toEqual([[m, n], dtype]);
        expectClose(y, { shape: [m, n], dtype, values: decoded }, "fp8Gemm");
        const coarser = a === E5M2 || b === E5M2 ? E5M2 : E4M3;
        const noise = errorN(await y.values(), exact);
        expect(noise).toBeLessThan(limitOf("fp8GemmNoise", coarser).n);
        expect(noise).toBeGreaterThan(5e-3);
      }
    },
  );

  const q = (shape: readonly number[], dtype: Float8 = E4M3) =>
    quantizeOp({ x: normals(shape, { seed: 3 }), scale: tensor([9]) }, { dtype }).q;
  const one = tensor([1]);
  const dot = (a: Tensor, b: Tensor, more: object = {}, params: object = {}) =>
    scaledDotOp({ a, b, aScaleInv: one, bScaleInv: one, ...more }, { ...AXES, ...params }).y;

  it("rounds the product with its bias once", async () => {
    const a = quantizeOp({ x: tensor([[1, 1]]), scale: one }).q;
    const b = quantizeOp({ x: tensor([[256], [1]]), scale: one }).q;
    const bias = tensor([0.125]);
    // 257 alone would become 256, to which 0.125 makes no difference.
    expect(await dot(a, b, { bias }, { dtype: "bfloat16" }).item()).toBe(258);
    expect(await dot(a, b, { bias }, { dtype: "float32" }).item()).toBe(257.125);
  });

  it("carries batch axes along", async () => {
    const [a, b] = [q([3, 5, 8]), q([3, 7, 8])];
    const axes = { lhsContract: [2], rhsContract: [2], lhsBatch: [0], rhsBatch: [0] };
    const y = dot(a, b, {}, axes);
    const [left, right] = [await a.values(), await b.values()];
    const expected = [0, 1, 2].flatMap((i) => [
      ...product(left.slice(i * 40, i * 40 + 40), right.slice(i * 56, i * 56 + 56), [5, 8, 7], false, true),
    ]);
    expectClose(y, { shape: [3, 5, 7], dtype: "float32", values: expected }, "fp8Gemm");
  });

  it("rejects what has no product", () => {
    expectError("dtype", /a and b may not both be float8_e5m2/, () => dot(q([2, 2], E5M2), q([2, 2], E5M2)));
    expectError("dtype", /a must be float8_e4m3fn or float8_e5m2, got float32/, () => dot(one, one));
    expectError("shape", /contract axes must have equal lengths: \[3\] of a/, () => dot(q([2, 3]), q([2, 2])));
    expectError("shape", /distinct and in \[0, 2\)/, () => dot(q([2, 2]), q([2, 2]), {}, { lhsContract: [2] }));
    expectError("shape", /bias must have shape \[4\]/, () => dot(q([2, 3]), q([3, 4]), { bias: one }));
    expectError("dtype", /bias must be float32 or bfloat16 or float16/, () =>
      dot(q([2, 3]), q([3, 4]), { bias: q([4]) }),
    );
    expectError("shape", /bScaleInv must have shape \[1\]/, () =>
      dot(q([2, 3]), q([3, 4]), { bScaleInv: tensor([1, 2]) }),
    );
    expectError("dtype", /dtype must be one of float32, bfloat16, float16, got float8_e4m3fn/, () =>
      dot(q([2, 3]), q([3, 4]), {}, { dtype: E4M3 }),
    );
  });

  it("has no derivative of its own", () => {
    const x = normals([2, 3], { seed: 4 });
    expectError("unsupported", /rounding to FP8 has no derivative.*fp8DotGeneral/, () =>
      valueAndGrad((t: Tensor) => quantizeOp({ x: t, scale: one }).q.astype("float32").sum())(x),
    );
  });
});
