/** The op `quantize`: a tensor rounded to FP8 with a given scale, and its largest magnitude. */
import { zeros } from "@te/tensor";
import { defineOp, expectDType, fail, rule } from "@te/tensor/op";
import type { Float8 } from "../format.js";
import { expectQuantization, HIGH_PRECISION } from "./check.js";

/**
 * Rounds a tensor to FP8 with a given scale and measures its largest magnitude:
 *
 *     q    = round(clip(float32(x) * scale, -max, max))     to nearest, ties to even; max is 448 or 57344
 *     amax = max |x|, before scaling
 *
 * x: float32, bfloat16 or float16 of any shape. scale: float32[1]. q: dtype, shape of x. amax: float32[1], 0 when x is
 * empty. A NaN of x is a NaN in q and in amax; an infinity is ±max in q and infinite in amax.
 */
export const quantizeOp = defineOp("quantize", {
  inputs: ["x", "scale"],
  outputs: ["q", "amax"],
  params: { dtype: "float8_e4m3fn" as Float8 },

  shape({ x, scale }, { dtype }) {
    expectDType("quantize", { x }, ...HIGH_PRECISION);
    expectQuantization("quantize", scale, dtype);
    return { q: { shape: x.shape, dtype }, amax: { shape: [1], dtype: "float32" } };
  },

  sharding: () => rule("..., 1 -> ..., 1", { reduce: { "...": "max" } }),

  reference({ x, scale }, { dtype }) {
    const wide = x.astype("float32");
    const amax = x.size === 0 ? zeros([1]) : wide.abs().max().reshape([1]);
    return { q: wide.mul(scale.reshape([])).astype(dtype, { saturate: true }), amax };
  },

  vjp() {
    return fail(
      "unsupported",
      "quantize",
      "rounding to FP8 has no derivative",
      undefined,
      "Use fp8DotGeneral, or wrap the operand in stopGradient.",
    );
  },

  cases: (c) => {
    const dtype: readonly Float8[] = ["float8_e4m3fn", "float8_e5m2"];
    return [
      ...c.product(
        { dtype, of: HIGH_PRECISION, shape: [[1], [31], [4, 33], [3, 17, 64]] },
        ({ of, shape }) => ({ x: c.normal(shape, { dtype: of, std: 3 }), scale: c.values([1], [37.5]) }),
        ({ dtype }) => ({ dtype }),
        { gradient: false },
      ),
      c.bench(
        "a layer's activations",
        { x: c.normal([2048, 512], { dtype: "bfloat16" }), scale: c.values([1], [100]) },
        {},
        { bytes: 2048 * 512 * 3 },
      ),
      c.bench(
        "a layer's weights",
        { x: c.normal([512, 2048]), scale: c.values([1], [100]) },
        {},
        { bytes: 2048 * 512 * 5 },
      ),
    ];
  },
});
