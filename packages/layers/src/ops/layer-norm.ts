/** The op `layer_norm` and its backward, and the checks that all norms share. */
import type { Aval, Tensor } from "@te/tensor";
import { defineOp, expectDType, expectFloat, expectShape, FLOATS, fail, rule } from "@te/tensor/op";

/** x - mean, in float32, where mean is rounded to it: less what that rounding lost, which a mean of 1e4 would show. */
function centre(x: Tensor, mean: Tensor): Tensor {
  const deviation = x.astype("float32").sub(mean);
  return deviation.sub(deviation.mean(-1, { keepDims: true }));
}

const rowsOf = (x: Aval): Aval => ({ shape: x.shape.slice(0, -1), dtype: "float32" });
const leadingAxes = (x: Aval): number[] => x.shape.slice(0, -1).map((_, i) => i);

/** Throws unless x is floating with a last axis, along which gamma and beta lie. */
export function expectNorm(fn: string, { x, ...parameters }: { x: Aval } & Readonly<Record<string, Aval>>): void {
  expectFloat(fn, { x, ...parameters });
  if (x.shape.length === 0) fail("shape", fn, "x must have at least one axis", x, "Reshape it to [1].");
  expectShape(fn, parameters, x.shape.slice(-1), "the last axis of x");
}

/** Throws unless dy is like x and the statistics are those of its rows. */
export function expectCotangent(
  fn: string,
  { dy, x, ...statistics }: { dy: Aval; x: Aval } & Readonly<Record<string, Aval>>,
): void {
  expectFloat(fn, { dy });
  expectShape(fn, { dy }, x.shape, "that of x");
  expectDType(fn, statistics, "float32");
  expectShape(fn, statistics, x.shape.slice(0, -1), "the rows of x");
}

/**
 * With xhat = (x - mean) * rstd and a = dy * gamma':
 * dx = rstd * (a - mean(a) - xhat * mean(a * xhat)), dgamma = sum(dy * xhat), dbeta = sum(dy).
 */
export const layerNormBackwardOp = defineOp("layer_norm_backward", {
  inputs: ["dy", "x", "gamma", "mean", "rstd"],
  outputs: ["dx", "dgamma", "dbeta"],
  judgedAs: { values: { dgamma: "normParameters", dbeta: "normParameters" } },
  params: { zeroCenteredGamma: false },
  shape({ dy, x, gamma, mean, rstd }) {
    expectNorm("layerNormBackward", { x, gamma });
    expectCotangent("layerNormBackward", { dy, x, mean, rstd });
    return { dx: x, dgamma: gamma, dbeta: gamma };
  },
  sharding: () => rule("... h, ... h, h, ..., ... -> ... h, h, h", { composed: ["h"] }),
  reference({ dy, x, gamma, mean, rstd }, { zeroCenteredGamma }) {
    const scale = scaleOf(gamma, zeroCenteredGamma);
    const g = dy.astype("float32");
    const inverse = rstd.expandDims(-1);
    const xhat = centre(x, mean.expandDims(-1)).mul(inverse);
    const a = g.mul(scale);
    const c1 = a.mean(-1, { keepDims: true });
    const c2 = a.mul(xhat).mean(-1, { keepDims: true });
    return {
      dx: a.sub(c1).sub(xhat.mul(c2)).mul(inverse).astype(x.dtype),
      dgamma: g.mul(xhat).sum(leadingAxes(x)).astype(gamma.dtype),
      dbeta: g.sum(leadingAxes(x)).astype(gamma.dtype),
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
        zeroCenteredGamma: [false, true],
      },
      ({ dtype, shape }) => ({
        dy: c.normal(shape, { dtype }),
        x: c.normal(shape, { dtype }),
        gamma: c.normal(shape.slice(-1), { dtype, mean: 1, std: 0.3 }),
        mean: c.normal(shape.slice(0, -1), { std: 0.1 }),
        rstd: c.uniform(shape.slice(0, -1), { low: 0.5, high: 2 }),
      }),
      ({ zeroCenteredGamma }) => ({ zeroCenteredGamma }),
      { gradient: false },
    ),
    c.bench(
      "2048x512 float32",
      {
        dy: c.normal([2048, 512]),
        x: c.normal([2048, 512]),
        gamma: c.normal([512]),
        mean: c.normal([2048]),
        rstd: c.uniform([2048], { low: 0.5, high: 2 }),
      },
      {},
      { bytes: 3 * 2 ** 22 },
    ),
  ],
});

const scaleOf = (gamma: Tensor, zeroCentered: boolean): Tensor => {
  const scale = gamma.astype("float32");
  return zeroCentered ? scale.add(1) : scale;
};

/** The statistics are outputs for the backward pass only; a gradient through them would be lost silently. */
export function refuseStatistics(fn: string, ...grads: (Tensor | undefined)[]): void {
  if (grads.some((g) => g !== undefined)) {
    fail(
      "unsupported",
      fn,
      "mean and rstd have no derivative here",
      undefined,
      "Compute the statistics with mean() and variance().",
    );
  }
}

/**
 * y = (x - mean) / sqrt(variance + epsilon) * gamma' + beta over the last axis, gamma' = gamma or 1 + gamma. Statistics
 * and arithmetic in float32, population variance in two passes, one rounding to the dtype of x.
 * A row whose sum is beyond float32 has that infinity as its mean and gives NaN; one whose squares are has rstd 0 and gives beta.
 * x [..., H] float; gamma, beta [H] float; y like x; mean, rstd float32 [...].
 */
export const layerNormOp = defineOp("layer_norm", {
  inputs: ["x", "gamma", "beta"],
  outputs: ["y", "mean", "rstd"],
  saved: ["mean", "rstd"],
  judgedAs: { values: "norm", gradients: { x: "norm", gamma: "normParameters", beta: "normParameters" } },
  params: { epsilon: 1e-6, zeroCenteredGamma: false },
  kinds: { epsilon: "finite" },
  shape({ x, gamma, beta }) {
    expectNorm("layerNorm", { x, gamma, beta });
    return { y: x, mean: rowsOf(x), rstd: rowsOf(x) };
  },
  sharding: () => rule("... h, h, h -> ... h, ..., ...", { composed: ["h"] }),
  reference({ x, gamma, beta }, { epsilon, zeroCenteredGamma }) {
    const mean = x.astype("float32").mean(-1, { keepDims: true });
    const centred = centre(x, mean);
    const rstd = centred.mul(centred).mean(-1, { keepDims: true }).add(epsilon).rsqrt();
    const y = centred.mul(rstd).mul(scaleOf(gamma, zeroCenteredGamma)).add(beta.astype("float32"));
    return { y: y.astype(x.dtype), mean: mean.squeeze(-1), rstd: rstd.squeeze(-1) };
  },
  vjp({ inputs: { x, gamma }, outputs: { mean, rstd }, grads, params: { zeroCenteredGamma } }) {
    refuseStatistics("layerNorm", grads.mean, grads.rstd);
    const { dx, dgamma, dbeta } = layerNormBackwardOp({ dy: grads.y, x, gamma, mean, rstd }, { zeroCenteredGamma });
    return { x: dx, gamma: dgamma, beta: dbeta };
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
        zeroCenteredGamma: [false, true],
      },
      ({ dtype, shape }) => ({
        x: c.normal(shape, { dtype }),
        gamma: c.normal([shape.at(-1)!], { dtype, mean: 1, std: 0.3 }),
        beta: c.normal([shape.at(-1)!], { dtype, std: 0.3 }),
      }),
      ({ epsilon, zeroCenteredGamma }) => ({ epsilon, zeroCenteredGamma }),
    ),
    c.case("float32 gamma, bfloat16 x", {
      x: c.normal([5, 64], { dtype: "bfloat16" }),
      gamma: c.normal([64], { mean: 1 }),
      beta: c.normal([64]),
    }),
    c.case("large mean, small variance", {
      x: c.normal([8, 1024], { mean: 1e4, std: 1 }),
      gamma: c.normal([1024]),
      beta: c.normal([1024]),
    }),
    c.bench(
      "2048x512 float32",
      { x: c.normal([2048, 512]), gamma: c.normal([512]), beta: c.normal([512]) },
      {},
      { bytes: 2 * 4 * 2048 * 512 },
    ),
    c.bench(
      "8192x1024 bfloat16",
      { x: c.normal([8192, 1024], { dtype: "bfloat16" }), gamma: c.normal([1024]), beta: c.normal([1024]) },
      {},
      { bytes: 2 * 2 * 8192 * 1024 },
    ),
  ],
});
