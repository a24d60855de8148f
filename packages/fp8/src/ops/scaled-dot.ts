/** The op `scaled_dot`: products of FP8 tensors, unscaled and rounded once. */
import { dot } from "@te/tensor";
import {
  type DotAxes,
  defineOp,
  dotRule,
  dotShape,
  expectDType,
  expectShape,
  fail,
  formatAval,
  freeAxes,
  holdsBias,
} from "@te/tensor/op";
import { checkFloat8, type Float8 } from "../format.js";
import { expectScalars, HIGH_PRECISION } from "./check.js";

/**
 * Product of two FP8 tensors with their scales taken out again:
 *
 *     y = round(dot(float32(a), float32(b)) * (aScaleInv * bScaleInv) + bias)
 *
 * Products and sums are float32 and are rounded once, to `dtype`. Dimensions as in lax.dot_general: y has the batch
 * dimensions, the free dimensions of a, the free dimensions of b. aScaleInv, bScaleInv: float32[1]. bias: shape of the
 * free dimensions of b. a and b may not both be float8_e5m2.
 */
export const scaledDotOp = defineOp("scaled_dot", {
  inputs: ["a", "b", "aScaleInv", "bScaleInv"],
  optional: ["bias"],
  outputs: ["y"],
  judgedAs: { values: "fp8Gemm" },
  params: {
    lhsContract: [] as readonly number[],
    rhsContract: [] as readonly number[],
    lhsBatch: [] as readonly number[],
    rhsBatch: [] as readonly number[],
    dtype: "float32" as "float32" | "bfloat16" | "float16",
  },

  shape({ a, b, aScaleInv, bScaleInv, bias }, params) {
    const fn = "scaled_dot";
    checkFloat8(fn, "a", a.dtype);
    checkFloat8(fn, "b", b.dtype);
    if (a.dtype === "float8_e5m2" && b.dtype === "float8_e5m2") {
      fail("dtype", fn, "a and b may not both be float8_e5m2", undefined, "Quantize one of them to float8_e4m3fn.");
    }
    expectScalars(fn, { aScaleInv, bScaleInv });
    if (!HIGH_PRECISION.includes(params.dtype)) {
      fail("dtype", fn, `dtype must be one of ${HIGH_PRECISION.join(", ")}`, params.dtype);
    }
    const shape = dotShape(fn, a, b, params);
    if (bias) {
      const free = freeAxes(b.shape.length, params.rhsContract, params.rhsBatch);
      expectShape(
        fn,
        { bias },
        free.map((axis) => b.shape[axis]!),
        `the free axes of b: ${formatAval(b)}`,
      );
      expectDType(fn, { bias }, ...HIGH_PRECISION);
    }
    return { y: { shape, dtype: params.dtype } };
  },

  sharding: ({ a, b }, params) => dotRule(a, b, params, ["1", "1"]),
  onShard: ({ bias, ...inputs }, params, shard, op) =>
    op({ ...inputs, bias: holdsBias(shard, params) ? bias : undefined }, params),

  reference({ a, b, aScaleInv, bScaleInv, bias }, { dtype, ...dims }) {
    const product = dot(a.astype("float32"), b.astype("float32"), dims);
    const scaled = product.mul(aScaleInv.mul(bScaleInv).reshape([]));
    return { y: (bias ? scaled.add(bias.astype("float32")) : scaled).astype(dtype) };
  },

  vjp() {
    return fail(
      "unsupported",
      "scaled_dot",
      "products of FP8 tensors have no derivative",
      undefined,
      "Use fp8DotGeneral.",
    );
  },

  cases: (c) => {
    const pairs: readonly (readonly [Float8, Float8])[] = [
      ["float8_e4m3fn", "float8_e4m3fn"],
      ["float8_e5m2", "float8_e4m3fn"],
      ["float8_e4m3fn", "float8_e5m2"],
    ];
    const layouts = [
      { lhsContract: [1], rhsContract: [0] },
      { lhsContract: [1], rhsContract: [1] },
      { lhsContract: [0], rhsContract: [0] },
      { lhsContract: [0], rhsContract: [1] },
    ];
    const [m, n] = [17, 33];
    const inputs = (
      pair: readonly [Float8, Float8],
      k: number,
      layout: Pick<DotAxes, "lhsContract" | "rhsContract">,
    ) => ({
      a: c.normal(layout.lhsContract[0] === 1 ? [m, k] : [k, m], { dtype: pair[0], std: 20 }),
      b: c.normal(layout.rhsContract[0] === 1 ? [n, k] : [k, n], { dtype: pair[1], std: 20 }),
      aScaleInv: c.values([1], [0.03]),
      bScaleInv: c.values([1], [0.07]),
    });
    return [
      ...c.product(
        {
          pair: pairs,
          layout: layouts.map((_, i) => i),
          k: [16, 65],
          dtype: ["float32", "bfloat16", "float16"] as const,
        },
        ({ pair, layout, k }) => inputs(pair, k, layouts[layout]!),
        ({ layout, dtype }) => ({ ...layouts[layout]!, dtype }),
        { gradient: false },
      ),
      c.case(
        "bias, two contracted and two free axes",
        {
          ...inputs(pairs[0]!, 16, layouts[0]!),
          a: c.normal([3, 5, 4, 8], { dtype: "float8_e4m3fn", std: 20 }),
          b: c.normal([4, 8, 2, 6], { dtype: "float8_e4m3fn", std: 20 }),
          bias: c.normal([2, 6], { dtype: "bfloat16" }),
        },
        { lhsContract: [2, 3], rhsContract: [0, 1], dtype: "bfloat16" },
        { gradient: false },
      ),
      c.bench(
        "a layer's product",
        {
          a: c.normal([2048, 512], { dtype: "float8_e4m3fn", std: 20 }),
          b: c.normal([512, 2048], { dtype: "float8_e4m3fn", std: 20 }),
          aScaleInv: c.values([1], [0.03]),
          bScaleInv: c.values([1], [0.07]),
        },
        { lhsContract: [1], rhsContract: [0], dtype: "bfloat16" },
        { flops: 2 * 2048 * 512 * 2048 },
      ),
    ];
  },
});
