import {
  backwardDot,
  biasGradient,
  type ContractAxes,
  forwardDot,
  nameQuantized,
  nextMetas,
  quantizedBy,
  quantizeWith,
} from "@te/fp8";
import { checkpointName, customVjp, type Tensor } from "@te/tensor";
import type { StatefulFp8Product } from "./dense.js";
import { normGradient, operand, quantizedNorm } from "./fp8-norm.js";
import type { Norm } from "./layer-norm.js";
import type { Axes } from "./module.js";
import { gatedActivationBackwardOp } from "./ops/gated-activation.js";
import { gatedActivationQuantizeOp } from "./ops/gated-activation-quantize.js";

/** Parameters of gated_activation. */
export interface ActivationParams {
  readonly activations: readonly string[];
  readonly limit: number;
  readonly alpha: number;
  readonly offset: number;
}

export interface Fp8Mlp {
  readonly norm: Norm;
  readonly wi: Tensor;
  readonly wo: Tensor;
  readonly wiBias: Tensor | undefined;
  readonly woBias: Tensor | undefined;
  readonly activation: ActivationParams;
  readonly products: readonly [first: StatefulFp8Product, second: StatefulFp8Product];
  readonly names: readonly [first: string, second: string];
  /** Logical axes of the products' inputs. */
  readonly inputAxes: readonly [first: Axes | null, second: Axes | null];
  /** Name by which checkpoint policies know the FP8 operands. */
  readonly quantizationCheckpointName: string | null;
}

/**
 * norm → product → activation → product with one gradient for all: neither the norm's nor the activation's result ever
 * exists in high precision. Each product quantises the gradient of its own result, product 1 that of the output and
 * product 0 that of the pre-activation.
 */
export function fp8NormMlp(x: Tensor, mlp: Fp8Mlp): Tensor {
  const { norm, activation, names, quantizationCheckpointName } = mlp;
  const { recipe } = mlp.products[0];
  const { forward: toForward, backward: toBackward } = recipe.fp8Format;
  const { dtype } = x;
  const axes: ContractAxes = { lhsContract: [x.rank - 1], rhsContract: [0] };
  type Metas = StatefulFp8Product["metas"];

  const forward = (
    x: Tensor,
    gamma: Tensor,
    beta: Tensor | null,
    wi: Tensor,
    wo: Tensor,
    wiBias: Tensor | null,
    woBias: Tensor | null,
    metas0: Metas,
    metas1: Metas,
  ) => {
    const { xq: normalized, statistics } = quantizedNorm(
      x,
      { ...norm, gamma, beta: beta ?? undefined },
      { recipe, metas: metas0 },
    );
    const xq = operand(normalized, { inputAxes: mlp.inputAxes[0], quantizationCheckpointName });
    const wiq = nameQuantized(quantizeWith(metas0.kernel, wi, toForward), quantizationCheckpointName);
    const u = checkpointName(forwardDot(xq, wiq, axes, { dtype, bias: wiBias?.astype(dtype) }), names[0]);
    const activated = quantizedBy(
      metas1.x,
      gatedActivationQuantizeOp({ u, scale: metas1.x.scale }, { ...activation, dtype: toForward }),
    );
    const hq = operand(activated, { inputAxes: mlp.inputAxes[1], quantizationCheckpointName });
    const woq = nameQuantized(quantizeWith(metas1.kernel, wo, toForward), quantizationCheckpointName);
    const y = checkpointName(forwardDot(hq, woq, axes, { dtype, bias: woBias?.astype(dtype) }), names[1]);
    return [y, { x, gamma, beta, wiBias, woBias, metas0, metas1, xq, statistics, wiq, u, hq, woq }] as const;
  };
  type Residuals = ReturnType<typeof forward>[1];

  const backward = (r: Residuals, grad: Tensor) => {
    const gq1 = quantizeWith(r.metas1.grad, grad, toBackward);
    const second = backwardDot(r.hq, r.woq, gq1, axes, { dtype });
    // Quantised from float32, as the activation is: nothing between is rounded to the dtype of x.
    const { du } = gatedActivationBackwardOp({ dy: second.dx, u: r.u }, { ...activation, wide: true });
    const gq0 = quantizeWith(r.metas0.grad, du, toBackward);
    const first = backwardDot(r.xq, r.wiq, gq0, axes, { dtype });
    const { dx, dgamma, dbeta } = normGradient(
      first.dx,
      r.x,
      { ...norm, gamma: r.gamma, beta: r.beta ?? undefined },
      r.statistics,
    );
    return [
      dx,
      dgamma,
      dbeta,
      first.dkernel,
      second.dkernel,
      r.wiBias && biasGradient(du, r.wiBias),
      r.woBias && biasGradient(grad, r.woBias),
      nextMetas(r.metas0, { x: r.xq, kernel: r.wiq, grad: gq0 }, recipe),
      nextMetas(r.metas1, { x: r.hq, kernel: r.woq, grad: gq1 }, recipe),
    ] as const;
  };

  const run = customVjp((...args: Parameters<typeof forward>) => forward(...args)[0], forward, backward);
  const [first, second] = mlp.products;
  return run(
    x,
    norm.gamma,
    norm.beta ?? null,
    mlp.wi,
    mlp.wo,
    mlp.wiBias ?? null,
    mlp.woBias ?? null,
    first.metas,
    second.metas,
  );
}
