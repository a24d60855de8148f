/**
 * A norm whose result goes to float8 straight from float32, without a rounding to the activation dtype in between:
 * q = float8(clip(norm(x) * scale)), amax = max |norm(x)|. Delayed scaling: the scale is known beforehand.
 */

import { expectQuantization, quantizeOp } from "@te/fp8";
import type { Aval, DType } from "@te/tensor";
import { defineOp, FLOATS, rule } from "@te/tensor/op";
import { layerNormOp } from "./layer-norm.js";
import { rmsNormOp } from "./rms-norm.js";

const SCALAR: Aval = { shape: [1], dtype: "float32" };
type Float8 = "float8_e4m3fn" | "float8_e5m2";
const E4M3: Float8 = "float8_e4m3fn";

/** x [..., H]; gamma, beta [H]; scale float32[1] → q like x in `dtype`, amax float32[1], mean and rstd float32 [...]. */
export const layerNormQuantizeOp = defineOp("layer_norm_quantize", {
  inputs: ["x", "gamma", "beta", "scale"],
  outputs: ["q", "amax", "mean", "rstd"],
  params: { epsilon: 1e-6, zeroCenteredGamma: false, dtype: E4M3 as Float8 },
  kinds: { epsilon: "finite" },
  shape({ x, gamma, beta, scale }, { epsilon, zeroCenteredGamma, dtype }) {
    const { mean, rstd } = layerNormOp.definition.shape({ x, gamma, beta }, { epsilon, zeroCenteredGamma }) as {
      mean: Aval;
      rstd: Aval;
    };
    expectQuantization("layerNormQuantize", scale, dtype);
    return { q: { shape: x.shape, dtype: dtype as DType }, amax: SCALAR, mean, rstd };
  },
  sharding: () => rule("... h, h, h, 1 -> ... h, 1, ..., ...", { composed: ["h"], reduce: { "...": "max" } }),
  reference({ x, gamma, beta, scale }, { epsilon, zeroCenteredGamma, dtype }) {
    const { y, mean, rstd } = layerNormOp({ x: x.astype("float32"), gamma, beta }, { epsilon, zeroCenteredGamma });
    const { q, amax } = quantizeOp({ x: y, scale }, { dtype });
    return { q, amax, mean, rstd };
  },
  vjp: () => ({}),
  cases: (c) => [
    ...c.product(
      {
        dtype: FLOATS,
        shape: [
          [3, 33],
          [64, 128],
        ],
      },
      ({ dtype, shape }) => ({
        x: c.normal(shape, { dtype }),
        gamma: c.normal([shape.at(-1)!], { dtype, mean: 1, std: 0.3 }),
        beta: c.normal([shape.at(-1)!], { dtype, std: 0.3 }),
        scale: c.values([1], [100]),
      }),
      () => ({}),
      { gradient: false },
    ),
    c.bench(
      "2048x512 bfloat16",
      {
        x: c.normal([2048, 512], { dtype: "bfloat16" }),
        gamma: c.normal([512], { dtype: "bfloat16" }),
        beta: c.normal([512], { dtype: "bfloat16" }),
        scale: c.values([1], [100]),
      },
      {},
      { bytes: 3 * 2 ** 20 },
    ),
  ],
});

/** x [..., H]; gamma [H]; scale float32[1] → q like x in `dtype`, amax float32[1], rstd float32 [...]. */
export const rmsNormQuantizeOp = defineOp("rms_norm_quantize", {
  inputs: ["x", "gamma", "scale"],
  outputs: ["q", "amax", "rstd"],
  params: { epsilon: 1e-6, dtype: E4M3 as Float8 },
  kinds: { epsilon: "finite" },
  shape({ x, gamma, scale }, { epsilon, dtype }) {
    const { rstd } = rmsNormOp.definition.shape({ x, gamma }, { epsilon }) as { rstd: Aval };
    expectQuantization("rmsNormQuantize", scale, dtype);
    return { q: { shape: x.shape, dtype: dtype as DType }, amax: SCALAR, rstd };
  },
  sharding: () => rule("... h, h, 1 -> ... h, 1, ...", { composed: ["h"], reduce: { "...": "max" } }),
  reference({ x, gamma, scale }, { epsilon, dtype }) {
    const { y, rstd } = rmsNormOp({ x: x.astype("float32"), gamma }, { epsilon });
    const { q, amax } = quantizeOp({ x: y, scale }, { dtype });
    return { q, amax, rstd };
  },
  vjp: () => ({}),
  cases: (c) => [
    ...c.product(
      {
        dtype: FLOATS,
        shape: [
          [3, 33],
          [64, 128],
        ],
      },
      ({ dtype, shape }) => ({
        x: c.normal(shape, { dtype }),
        gamma: c.normal([shape.at(-1)!], { dtype, mean: 1, std: 0.3 }),
        scale: c.values([1], [100]),
      }),
      () => ({}),
      { gradient: false },
    ),
    c.bench(
      "2048x512 bfloat16",
      {
        x: c.normal([2048, 512], { dtype: "bfloat16" }),
        gamma: c.normal([512], { dtype: "bfloat16" }),
        scale: c.values([1], [100]),
      },
      {},
      { bytes: 3 * 2 ** 20 },
    ),
  ],
});
