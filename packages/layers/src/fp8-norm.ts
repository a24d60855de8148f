/** Norms and activations that hand their result to an FP8 product without a high-precision copy of it. */
import {
  backwardDot,
  type ContractAxes,
  forwardDot,
  nameQuantized,
  nextMetas,
  type Quantized,
  quantizedBy,
  quantizeWith,
} from "@te/fp8";
import { withShardingConstraintByLogicalAxes as constrain } from "@te/sharding";
import { customVjp, type Tensor } from "@te/tensor";
import type { StatefulFp8Product } from "./dense.js";
import type { Norm } from "./layer-norm.js";
import type { Axes } from "./module.js";
import { layerNormBackwardOp } from "./ops/layer-norm.js";
import { layerNormQuantizeOp, rmsNormQuantizeOp } from "./ops/norm-quantize.js";
import { rmsNormBackwardOp } from "./ops/rms-norm.js";

/** Row statistics kept for the backward pass. */
export interface NormStatistics {
  readonly mean: Tensor | null;
  readonly rstd: Tensor;
}

/** Of the operands of a product in FP8. */
export interface OperandOptions {
  /** Logical axes of the input. */
  readonly inputAxes: Axes | null;
  /** Name by which checkpoint policies know the operands. */
  readonly quantizationCheckpointName: string | null;
}

/** The product's input as these options want it. */
export function operand(xq: Quantized, { inputAxes, quantizationCheckpointName }: OperandOptions): Quantized {
  const split = inputAxes ? { ...xq, q: constrain(xq.q, inputAxes) } : xq;
  return nameQuantized(split, quantizationCheckpointName);
}

/** The norm of x in FP8 with the scale of `fp8.metas.x`. */
export function quantizedNorm(
  x: Tensor,
  norm: Norm,
  { recipe, metas }: StatefulFp8Product,
): { xq: Quantized; statistics: NormStatistics } {
  const dtype = recipe.fp8Format.forward;
  const gamma = norm.gamma.astype(x.dtype);
  const { epsilon, zeroCenteredGamma } = norm;
  if (norm.type === "layernorm") {
    const beta = norm.beta!.astype(x.dtype);
    const { q, amax, mean, rstd } = layerNormQuantizeOp(
      { x, gamma, beta, scale: metas.x.scale },
      { epsilon, zeroCenteredGamma, dtype },
    );
    return { xq: quantizedBy(metas.x, { q, amax }), statistics: { mean, rstd } };
  }
  const { q, amax, rstd } = rmsNormQuantizeOp({ x, gamma, scale: metas.x.scale }, { epsilon, dtype });
  return { xq: quantizedBy(metas.x, { q, amax }), statistics: { mean: null, rstd } };
}

/** Cotangents of x, gamma and beta, given that of the norm's result. */
export function normGradient(
  dy: Tensor,
  x: Tensor,
  norm: Norm,
  { mean, rstd }: NormStatistics,
): { dx: Tensor; dgamma: Tensor; dbeta: Tensor | null } {
  const gamma = norm.gamma.astype(x.dtype);
  if (norm.type === "layernorm") {
    return layerNormBackwardOp({ dy, x, gamma, mean: mean!, rstd }, { zeroCenteredGamma: norm.zeroCenteredGamma });
  }
  return { ...rmsNormBackwardOp({ dy, x, gamma, rstd }), dbeta: null };
}

/**
 * norm(x) · kernel with the norm's result quantised straight from float32. Contracts the last axis of x with the first of
 * the kernel. The cotangent of the metas is their value after this step.
 */
export function fp8NormProduct(
  x: Tensor,
  norm: Norm,
  kernel: Tensor,
  fp8: StatefulFp8Product,
  options: OperandOptions,
): Tensor {
  const { recipe } = fp8;
  const axes: ContractAxes = { lhsContract: [x.rank - 1], rhsContract: [0] };
  const { dtype } = x;
  const forward = (
    x: Tensor,
    gamma: Tensor,
    beta: Tensor | null,
    kernel: Tensor,
    metas: StatefulFp8Product["metas"],
  ) => {
    const { xq: normalized, statistics } = quantizedNorm(
      x,
      { ...norm, gamma, beta: beta ?? undefined },
      { recipe, metas },
    );
    const xq = operand(normalized, options);
    const kq = nameQuantized(
      quantizeWith(metas.kernel, kernel, recipe.fp8Format.forward),
      options.quantizationCheckpointName,
    );
    return [forwardDot(xq, kq, axes, { dtype }), { x, gamma, beta, xq, kq, statistics, metas }] as const;
  };
  type Residuals = ReturnType<typeof forward>[1];
  const run = customVjp(
    (...args: Parameters<typeof forward>) => forward(...args)[0],
    forward,
    ({ x, gamma, beta, xq, kq, statistics, metas }: Residuals, grad: Tensor) => {
      const gq = quantizeWith(metas.grad, grad, recipe.fp8Format.backward);
      const { dx: dy, dkernel } = backwardDot(xq, kq, gq, axes, { dtype });
      const { dx, dgamma, dbeta } = normGradient(dy, x, { ...norm, gamma, beta: beta ?? undefined }, statistics);
      return [dx, dgamma, dbeta, dkernel, nextMetas(metas, { x: xq, kernel: kq, grad: gq }, recipe)];
    },
  );
  return run(x, norm.gamma, norm.beta ?? null, kernel, fp8.metas);
}
