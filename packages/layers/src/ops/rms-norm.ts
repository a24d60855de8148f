/** The op `rms_norm` and its backward. */
import type { Aval } from "@te/tensor";
import { defineOp, FLOATS, rule } from "@te/tensor/op";
import { expectCotangent, expectNorm, refuseStatistics } from "./layer-norm.js";

const leadingAxes = (x: Aval): number[] => x.shape.slice(0, -1).map((_, i) => i);

/** With xhat = x * rstd and a = dy * gamma: dx = rstd * (a - xhat * mean(a * xhat)), dgamma = sum(dy * xhat). */
export const rmsNormBackwardOp = defineOp("rms_norm_backward", {
  inputs: ["dy", "x", "gamma", "rstd"],
  outputs: ["dx", "dgamma"],
  judgedAs: { values: { dgamma: "normParameters" } },
  params: {},
  shape({ dy, x, gamma, rstd }) {
    expectNorm("rmsNormBackward", { x, gamma });
    expectCotangent("rmsNormBackward", { dy, x, rstd });
    return { dx: x, dgamma: gamma };
  },
  sharding: () => rule("... h, ... h, h, ... -> ... h, h", { composed: ["h"] }),
  reference({ dy, x, gamma, rstd }) {
    const g = dy.astype("float32");
    const inverse = rstd.expandDims(-1);
    const xhat = x.astype("float32").mul(inverse);
    const a = g.mul(gamma.astype("float32"));
    const c = a.mul(xhat).mean(-1, { keepDims: true });
    return {
      dx: a.sub(xhat.mul(c)).mul(inverse).astype(x.dtype),
      dgamma: g.mul(xhat).sum(leadingAxes(x)).astype(gamma.dtype),
    };
  },
  cases: (c) => [
    ...c.product(
      {
        dtype: FLOATS,
        shape: [
          [5, 33],
          [2, 3, 64],
        ],
      },
      ({ dtype, shape }) => ({
        dy: c.normal(shape, { dtype }),
        x: c.normal(shape, { dtype }),
        gamma: c.normal(shape.slice(-1), { dtype, mean: 1, std: 0.3 }),
        rstd: c.uniform(shape.slice(0, -1), { low: 0.5, high: 2 }),
      }),
      () => ({}),
      { gradient: false },
    ),
    c.bench(
      "2048x512 float32",
      {
        dy: c.normal([2048, 512]),
        x: c.normal([2048, 512]),
        gamma: c.normal([512]),
        rstd: c.uniform([2048], { low: 0.5, high: 2 }),
      },
      {},
      { bytes: 3 * 2 ** 22 },
    ),
  ],
});

/**
 * y = x / sqrt(mean(x²) + epsilon) * gamma over the last axis, in float32 with one rounding to the dtype of x.
 * A row whose squares are beyond float32 has rstd 0, and gives 0 where it is finite.
 * x [..., H] float; gamma [H] float; y like x; rstd float32 [...].
 */
export const rmsNormOp = defineOp("rms_norm", {
  inputs: ["x", "gamma"],
  outputs: ["y", "rstd"],
  saved: ["rstd"],
  judgedAs: { values: "norm", gradients: { x: "norm", gamma: "normParameters" } },
  params: { epsilon: 1e-6 },
  kinds: { epsilon: "finite" },
  shape({ x, gamma }) {
    expectNorm("rmsNorm", { x, gamma });
    return { y: x, rstd: { shape: x.shape.slice(0, -1), dtype: "float32" } };
  },
  sharding: () => rule("... h, h -> ... h, ...", { composed: ["h"] }),
  reference({ x, gamma }, { epsilon }) {
    const wide = x.astype("float32");
    const rstd = wide.mul(wide).mean(-1, { keepDims: true }).add(epsilon).rsqrt();
    return { y: wide.mul(rstd).mul(gamma.astype("float32")).astype(x.dtype), rstd: rstd.squeeze(-1) };
  },
  vjp({ inputs: { x, gamma }, outputs: { rstd }, grads }) {
    refuseStatistics("rmsNorm", grads.rstd);
    const { dx, dgamma } = rmsNormBackwardOp({ dy: grads.y, x, gamma, rstd });
    return { x: dx, gamma: dgamma };
  },
  cases: (c) => [
    ...c.product(
      {
        dtype: FLOATS,
        shape: [
          [2, 31],
          [2, 32],
          [3, 33],
          [71, 229],
        ],
        epsilon: [1e-6, 1e-2],
      },
      ({ dtype, shape }) => ({
        x: c.normal(shape, { dtype }),
        gamma: c.normal([shape.at(-1)!], { dtype, mean: 1, std: 0.3 }),
      }),
      ({ epsilon }) => ({ epsilon }),
    ),
    c.bench(
      "2048x512 float32",
      { x: c.normal([2048, 512]), gamma: c.normal([512]) },
      {},
      { bytes: 2 * 4 * 2048 * 512 },
    ),
  ],
});
